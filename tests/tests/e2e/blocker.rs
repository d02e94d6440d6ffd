//! Stops a function at a place of our choice: a transaction that holds what the function needs next. Then the
//! function's process can be killed there.

use crate::stack::{Stack, rows, until};
use std::path::Path;
use tokio_postgres::{Client, SimpleQueryMessage};

/// An open transaction.
pub struct Blocker {
    client: Client,
    backend: String,
}

impl Blocker {
    /// Opens a transaction with a statement that takes the lock.
    pub async fn holding(stack: &Stack, sql: &str) -> Self {
        let client = stack.database().await;
        let backend = crate::stack::value(&client, "SELECT pg_backend_pid()").await;
        client
            .batch_execute(&format!("BEGIN; {sql}"))
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        Self { client, backend }
    }

    /// Once a function waits for the lock: its end of the connection.
    pub async fn port_of_waiter(&self, stack: &Stack) -> u16 {
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
            Ok(pooler) => port_behind(&pooler, port).await,
            Err(_) => port,
        }
    }

    /// Gives the lock back, as if nothing had been.
    pub async fn lets_go(self) {
        self.client.batch_execute("ROLLBACK").await.expect("the lock is given back");
    }
}

/// The server sees the pooler's connections. For one of these, by its port: the port of the client that it serves.
async fn port_behind(pooler: &str, port: u16) -> u16 {
    let (console, connection) = tokio_postgres::connect(
        &format!("{}/pgbouncer", pooler.rsplit_once('/').expect("a URL with a database").0),
        tokio_postgres::NoTls,
    )
    .await
    .expect("the pooler's console");
    tokio::spawn(connection);
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

/// kill -9 for the function process of this stack at that end of a connection. Answers the function's name.
pub fn kill(stack: &Stack, port: u16) -> String {
    let inode = inode_of(port).expect("the function's socket");
    let pid = owner_of(&format!("socket:[{inode}]")).expect("the function's process");
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

/// The socket with that local port on loopback (proc(5), /proc/net/tcp).
fn inode_of(port: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let local = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&local) && *fields.get(9)? != "0").then(|| fields[9].to_owned())
    })
}

fn owner_of(socket: &str) -> Option<i32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        descriptors
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link.to_string_lossy() == socket))
            .then_some(pid)
    })
}
