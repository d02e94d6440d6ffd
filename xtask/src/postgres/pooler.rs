//! Starts a private PgBouncer in transaction mode in front of a private PostgreSQL. The tests run the functions through
//! it, because production may.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{ADMIN, DATABASE, Postgres, ROLE, command_as_owner, find_owner, free_port};
use crate::process::{self, Identity};
use crate::{Context, Error, Result, apt, interrupt};

/// A variable in the pooler's environment, by which it can always be found.
const MARK: &str = "ONCELOAD_POOLER";

/// A running pooler. Dropping the value doesn't stop it; [`Pooler::stop`] does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pooler {
    pub process: Identity,
    pub port: u16,
    password: String,
}

impl Pooler {
    /// Starts a pooler for every database of `server`, in the server's directory.
    ///
    /// It hands out server connections in turn, so that two transactions of a client seldom get the same one: code that
    /// depends on session state fails soon.
    pub fn start(server: &Postgres, port: Option<u16>) -> Result<Self> {
        let program = apt::find_or_install("pgbouncer", "the tests need PgBouncer, which is not installed")?;
        let directory = &server.directory;
        process::kill_marked(MARK, &directory.to_string_lossy());
        let port = free_port(port)?;
        let users = directory.join("pgbouncer.users");
        let password = &server.password;
        let lines: String = [ADMIN, ROLE].iter().map(|role| format!("\"{role}\" \"{password}\"\n")).collect();
        write_private_file(&users, &lines)?;
        let settings = directory.join("pgbouncer.ini");
        write_private_file(&settings, &configuration(server, port, &users))?;
        let log = directory.join("pgbouncer.log");
        // Without a log file, it logs to standard error.
        let process = process::start(command_as_owner(&program)?.arg(&settings).env(MARK, directory), &log)?;
        let pooler = Self { process, port, password: password.clone() };
        let ready = interrupt::wait_until(Duration::from_secs(30), || {
            if pooler.process.is_alive() {
                return Ok(pooler.is_ready(server));
            }
            let last = process::tail(&log, 10);
            Err(Error::advice(format!("PgBouncer did not start; see {}:\n{last}", log.display())))
        });
        match ready {
            Ok(true) => Ok(pooler),
            outcome => {
                pooler.stop();
                outcome?;
                Err(Error::advice(format!("PgBouncer does not answer; see {}", log.display())))
            }
        }
    }

    /// For the functions: the ordinary role on its database.
    pub fn url(&self) -> String {
        self.url_of(ROLE, DATABASE)
    }

    /// For tests: the superuser, who may also query the pooler's own database `pgbouncer`.
    pub fn admin_url(&self) -> String {
        self.url_of(ADMIN, "postgres")
    }

    fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Stops it at once. Its clients, the functions, have ended or are about to.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGTERM);
        if !self.process.wait_gone(Duration::from_secs(5)) {
            self.process.signal(Signal::SIGKILL);
            self.process.wait_gone(Duration::from_secs(5));
        }
    }

    fn is_ready(&self, server: &Postgres) -> bool {
        let mut psql = Command::new(server.psql());
        psql.args(["-X", "-q", "-c", "SELECT 1", &self.url()]).stdin(Stdio::null());
        psql.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

fn configuration(server: &Postgres, port: u16, users: &Path) -> String {
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = plain\n\
         auth_file = {}\n\
         admin_users = {ADMIN}\n\
         pool_mode = transaction\n\
         server_round_robin = 1\n\
         default_pool_size = 24\n\
         max_client_conn = 1000\n\
         server_idle_timeout = 20\n\
         log_connections = 0\n\
         log_disconnections = 0\n",
        server.port,
        users.display(),
    )
}

/// Writes a file that only the server's owner may read.
fn write_private_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context(|| "protect a password")?;
    if let Some(owner) = find_owner()? {
        chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
            .context(|| format!("give {} to {}", path.display(), owner.name))?;
    }
    Ok(())
}
