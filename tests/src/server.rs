//! A PostgreSQL server that one test creates, may kill, and removes.

use crate::db::Server;
use crate::wait;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server and its data directory; dropping the value removes both.
pub struct PrivateServer {
    directory: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl PrivateServer {
    /// Initialises the data directory and starts the server.
    pub async fn start() -> Self {
        let directory =
            std::env::temp_dir().join(format!("onceload-crash-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&directory).expect("a directory for PostgreSQL");
        if is_root() {
            let owned = Command::new("chown").arg("postgres:postgres").arg(&directory).status();
            assert!(owned.expect("chown").success(), "the directory must be PostgreSQL's");
        }
        let made = program("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "-D",
            ])
            .arg(directory.join("data"))
            .stdout(Stdio::null())
            .output()
            .expect("initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a port").port();
        let mut server = Self { directory, port, process: None };
        server.run().await;
        server
    }

    /// Starts the server and waits until it answers; after a crash it recovers first.
    pub async fn run(&mut self) {
        let url = self.server().admin_url("postgres");
        let mut process = self.spawn();
        let what = format!("PostgreSQL in {} to start", self.directory.display());
        wait::until(&what, Duration::from_millis(50), async || {
            // PostgreSQL refuses to start while a backend of the crashed server still runs.
            if process.try_wait().expect("wait").is_some() {
                process = self.spawn();
            }
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_ok().then_some(())
        })
        .await;
        self.process = Some(process);
    }

    fn spawn(&self) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.directory.join("log"));
        program("postgres")
            .arg("-D")
            .arg(self.directory.join("data"))
            .args(["-p", &self.port.to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-c",
                "shared_buffers=64MB",
            ])
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("postgres")
    }

    /// Kills every process at once, like a power failure. A backend that outlived the postmaster could still commit.
    pub async fn crash(&mut self) {
        let mut process = self.process.take().expect("running");
        let backends = children(process.id());
        process.kill().expect("kill -9");
        process.wait().expect("wait");
        for backend in &backends {
            // The backend may have exited by itself.
            let _ = Command::new("kill").args(["-9", &backend.to_string()]).stderr(Stdio::null()).status();
        }
        let exists = |backend: &u32| Path::new(&format!("/proc/{backend}")).exists();
        let gone = async || (!backends.iter().any(exists)).then_some(());
        wait::until("the crashed server's backends to exit", Duration::from_millis(5), gone).await;
    }

    pub fn server(&self) -> Server {
        Server::of(&format!("postgres://postgres@127.0.0.1:{}/postgres", self.port))
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The child processes of a process.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        // proc(5): "pid (name) state ppid ..."
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A PostgreSQL program. PostgreSQL refuses to run as root, so root runs it as the user `postgres`.
fn program(name: &str) -> Command {
    let bin = std::env::var("ONCELOAD_TEST_PG_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".into());
    let path = Path::new(&bin).join(name);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(path);
        command
    } else {
        Command::new(path)
    };
    command.env("LC_ALL", "C").current_dir("/");
    command
}
