//! Stops a function at a chosen place with a transaction that holds the lock that the function needs next. A test can
//! then kill the function's process there.

use crate::merchant::Merchant;
use crate::stack::{Stack, until};
use onceload_tests::db::{connect, rows, value};
use serde_json::json;
use std::path::Path;
use tokio_postgres::{Client, SimpleQueryMessage};

/// An open transaction that holds a lock.
pub(crate) struct Blocker {
    client: Client,
    backend: String,
}

impl Blocker {
    /// Opens a transaction and takes the lock with this statement.
    pub(crate) async fn hold(stack: &Stack, sql: &str) -> Self {
        let client = stack.database().await;
        let backend = value(&client, "SELECT pg_backend_pid()").await;
        client
            .batch_execute(&format!("BEGIN; {sql}"))
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        Self { client, backend }
    }

    /// Waits until a function waits for the lock and returns the port of its end of the connection.
    pub(crate) async fn wait_for_waiter(&self, stack: &Stack) -> u16 {
        let watcher = stack.database().await;
        let sql = format!(
            "SELECT client_port FROM pg_stat_activity
              WHERE {} = ANY (pg_blocking_pids(pid)) AND application_name LIKE 'onceload%'",
            self.backend
        );
        let port = until("a function that waits", async || {
            rows(&watcher, &sql).await.first().and_then(|row| row[0].parse().ok())
        })
        .await;
        match std::env::var("ONCELOAD_TEST_PGBOUNCER_URL") {
            Ok(pooler) => find_client_port(&pooler, port).await,
            Err(_) => port,
        }
    }

    /// Rolls the transaction back.
    pub(crate) async fn release(self) {
        self.client.batch_execute("ROLLBACK").await.expect("the lock is given back");
    }
}

/// The port of the client that the pooler serves on its server connection with this port.
async fn find_client_port(pooler: &str, port: u16) -> u16 {
    let (server, _) = pooler.rsplit_once('/').expect("a URL with a database");
    let console = connect(&format!("{server}/pgbouncer")).await;
    let find = async |what: &str, key: &str, value: &str, wanted: &str| {
        let messages = console.simple_query(what).await.expect("the pooler's answer");
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.get(key) == Some(value) => row.get(wanted),
            _ => None,
        });
        row.unwrap_or_else(|| panic!("{what}: no {key} is {value}")).to_owned()
    };
    let client = find("SHOW SERVERS", "local_port", &port.to_string(), "link").await;
    find("SHOW CLIENTS", "ptr", &client, "port").await.parse().expect("a port")
}

/// Waits until the job queues behind `busy`, releases that one, and holds the loader where it deletes the rejects of an
/// earlier load.
pub(crate) async fn hold_loader_at_rejects(merchant: &Merchant, job: &str, busy: &str) -> Blocker {
    until("the queue", async || {
        (merchant.import(job).await["phase"] == json!("waiting_for_merchant")).then_some(())
    })
    .await;
    let earlier = format!(
        "INSERT INTO onceload.import_rejects (job_id, record_number, line_number, file_no, file, reason, raw)
         SELECT job_id, 7, 8, file_no, key, 'empty_code', '' FROM onceload.import_files WHERE job_id = '{job}'"
    );
    merchant.db.batch_execute(&earlier).await.expect("an earlier reject");
    let rejects = format!("SELECT FROM onceload.import_rejects WHERE job_id = '{job}' FOR UPDATE");
    let rejects = Blocker::hold(&merchant.stack, &rejects).await;
    merchant.release(busy).await;
    rejects.wait_for_waiter(&merchant.stack).await;
    rejects
}

/// Kills the function process of this stack that has this port and returns the function's name.
pub(crate) fn kill_function(stack: &Stack, port: u16) -> String {
    let inode = find_inode(port).expect("the function's socket");
    let pid = find_owner(&format!("socket:[{inode}]")).expect("the function's process");
    let process = Path::new("/proc").join(pid.to_string());
    let command = std::fs::read(process.join("cmdline")).expect("a command line");
    let ours = stack.directory.to_string_lossy().into_owned();
    assert!(
        command.starts_with(ours.as_bytes()),
        "{pid} is no function of this stack: {:?}",
        String::from_utf8_lossy(&command)
    );
    let environment = std::fs::read(process.join("environ")).expect("an environment");
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let name = environment.split('\0').find_map(|entry| entry.strip_prefix("AWS_LAMBDA_FUNCTION_NAME="));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("kill -9");
    name.unwrap_or_default().to_owned()
}

/// The inode of the socket with this local port (proc(5), /proc/net/tcp).
fn find_inode(port: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let local = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&local) && *fields.get(9)? != "0").then(|| fields[9].to_owned())
    })
}

fn find_owner(socket: &str) -> Option<i32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        descriptors
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link.to_string_lossy() == socket))
            .then_some(pid)
    })
}
