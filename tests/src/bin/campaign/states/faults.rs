//! What befalls a step.

use super::ways::PATIENCE;
use crate::Outcome;
use crate::gate::{Act, Gate};
use crate::local::Local;
use crate::processes;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};
use xtask::postgres::Settings;
use xtask::stack;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer of the step is lost, and the next call does not reach the function.
    Error,
    /// The step fails for good.
    Refusal,
    /// The function's process is killed in a transaction.
    Kill,
    /// The function runs twice at once, and the event that started the execution comes again.
    Double,
    /// StopExecution, while the function runs on.
    Stop,
    /// The server crashes during the step's transaction and loses unlogged tables.
    Crash,
}

impl Fault {
    pub(super) const ALL: [Self; 6] =
        [Self::Error, Self::Refusal, Self::Kill, Self::Double, Self::Stop, Self::Crash];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Refusal => "refusal",
            Self::Kill => "kill",
            Self::Double => "double",
            Self::Stop => "stop",
            Self::Crash => "crash",
        }
    }

    /// Whether the fault, or what leads to it, stops every import.
    pub(super) fn disturbs_others(self) -> bool {
        matches!(self, Self::Kill | Self::Crash)
    }

    pub(super) fn acts(self) -> Vec<Act> {
        match self {
            Self::Error => vec![Act::Lose, Act::Fail],
            Self::Refusal => vec![Act::Refuse],
            Self::Double => vec![Act::Twice],
            Self::Kill | Self::Stop | Self::Crash => vec![Act::Hold],
        }
    }

    /// Does what the gate can't do, once the step is there.
    pub(super) async fn strike(self, local: &Local, gate: &Gate, id: &str, texts: &[String]) -> Outcome<()> {
        match self {
            Self::Error | Self::Refusal => Ok(()),
            Self::Double => {
                let running = local.running().await?;
                let imports = running.iter().filter(|execution| {
                    execution.input.contains("\"detail\"")
                        && texts.iter().any(|text| execution.input.contains(text))
                });
                for execution in imports {
                    local.repeat_event(&execution.input).await?;
                }
                Ok(())
            }
            Self::Stop => {
                for execution in local.running().await? {
                    let ours = |text: &String| execution.input.contains(text) || execution.arn.contains(text);
                    if texts.iter().any(ours) && held(local, id)?["execution"] == execution.arn {
                        local.stop_execution(&execution.arn).await;
                    }
                }
                gate.open(id, 0)
            }
            Self::Kill => {
                let lock = Lock::take(local).await?;
                gate.open(id, 0)?;
                let port = lock.wait_for(local, &function_of(local, id)?).await?;
                let function = processes::function_at(local, port).ok_or("the function has gone")?;
                function.process.signal(Signal::SIGKILL);
                function.process.wait_gone(Duration::from_secs(5));
                lock.release().await
            }
            Self::Crash => {
                let lock = Lock::take(local).await?;
                gate.open(id, 0)?;
                lock.wait_for(local, &function_of(local, id)?).await?;
                let directory = local.directory.clone();
                let crash =
                    move || stack::crash_database(&directory, &Settings::test(), Duration::from_millis(500));
                tokio::task::spawn_blocking(crash).await??;
                Ok(())
            }
        }
    }
}

/// What the gate wrote about the task that it holds.
fn held(local: &Local, id: &str) -> Outcome<Value> {
    Ok(serde_json::from_slice(&std::fs::read(local.directory.join(format!("gate/{id}.0.reached")))?)?)
}

fn function_of(local: &Local, id: &str) -> Outcome<String> {
    Ok(held(local, id)?["function"].as_str().unwrap_or_default().to_owned())
}

/// A lock that every step comes to: no statement reads or writes an import meanwhile.
struct Lock {
    client: Client,
    backend: String,
}

impl Lock {
    async fn take(local: &Local) -> Outcome<Self> {
        let client = local.database().await?;
        let messages = client
            .simple_query(
                "BEGIN; LOCK TABLE onceload.codes_import_jobs IN ACCESS EXCLUSIVE MODE; SELECT pg_backend_pid()",
            )
            .await?;
        let backend = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(Self { client, backend: backend.ok_or("no backend")? })
    }

    /// Waits until this function waits for the lock, and returns the port of its end of the connection.
    async fn wait_for(&self, local: &Local, function: &str) -> Outcome<u16> {
        let sql = format!(
            "SELECT client_port FROM pg_stat_activity
              WHERE {} = ANY (pg_blocking_pids(pid)) AND application_name LIKE 'onceload%'",
            self.backend
        );
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for port in local.rows(&sql).await?.iter().flatten().filter_map(|port| port.parse().ok()) {
                let port = client_port(local, port).await?;
                if processes::function_at(local, port).is_some_and(|found| function.contains(&found.name)) {
                    return Ok(port);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("{function} did not come to the lock").into())
    }

    async fn release(self) -> Outcome<()> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}

/// The port of the function's end: behind a pooler, the port of the client that it serves on this server connection.
async fn client_port(local: &Local, port: u16) -> Outcome<u16> {
    let (_, Some(pooler)) = stack::servers(&local.directory)? else { return Ok(port) };
    let url = pooler.admin_url();
    let (server, _) = url.rsplit_once('/').ok_or("a URL with a database")?;
    let console = tokio_postgres::connect(&format!("{server}/pgbouncer"), tokio_postgres::NoTls).await?;
    tokio::spawn(console.1);
    let console = console.0;
    let find = async |what: &str, key: &str, value: &str, wanted: &str| -> Outcome<String> {
        let messages = console.simple_query(what).await?;
        let found = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.get(key) == Some(value) => row.get(wanted).map(str::to_owned),
            _ => None,
        });
        Ok(found.unwrap_or_default())
    };
    let client = find("SHOW SERVERS", "local_port", &port.to_string(), "link").await?;
    Ok(find("SHOW CLIENTS", "ptr", &client, "port").await?.parse().unwrap_or(0))
}
