//! A private PostgreSQL from the installed programs: loopback only, a password of its own, in a directory of
//! ours. Tests and benches start theirs with the same code.

mod binaries;
mod pooler;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;
use serde::{Deserialize, Serialize};

pub use self::binaries::Binaries;
pub use self::pooler::Pooler;
use crate::process::{self, Identity};
use crate::{Context, Error, Result, interrupt};

/// The ordinary role that owns what the functions use.
pub const ROLE: &str = "onceload";
/// Its database.
pub const DATABASE: &str = "onceload";
const ADMIN: &str = "postgres";

/// Server settings beyond the ones that every instance has, as `name=value`.
#[derive(Clone, Debug)]
pub struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Durable as in production, and small: what `cargo xtask up` runs.
    pub fn local() -> Self {
        Self(vec![("shared_buffers", "512MB".into()), ("max_wal_size", "4GB".into())])
    }

    /// For tests, whose data nobody keeps: a crash of the machine may lose it, a crash of the server may not.
    pub fn test() -> Self {
        let mut settings = Self::local();
        settings.0.extend([("fsync", "off".into()), ("full_page_writes", "off".into())]);
        settings
    }

    /// Durable, with the memory and the log space that a benchmark of millions of rows is measured with.
    pub fn bench() -> Self {
        let quarter = memory_megabytes().map_or(1024, |all| all / 4);
        Self(vec![
            ("shared_buffers", format!("{}MB", quarter.min(4096))),
            ("max_wal_size", "16GB".into()),
            // Segments of the log are used again, as on a server that has run for a while, instead of made of zeros.
            ("min_wal_size", "8GB".into()),
            ("checkpoint_timeout", "15min".into()),
        ])
    }

    /// The same with one more setting, such as `.with("max_connections", "20")`.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((name, value.into()));
        self
    }
}

/// A running server. It stays when this value goes: [`Postgres::stop`] ends it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Postgres {
    pub process: Identity,
    pub port: u16,
    /// Where the programs are.
    pub bin: PathBuf,
    /// Holds `data/`, `secret` and `postgres.log`.
    pub directory: PathBuf,
    password: String,
}

/// Starts a server on the data in `directory` (see [`place`]), made first if there is none.
///
/// Listens on 127.0.0.1, on `port` if that is free. The superuser `postgres` and the role `onceload`, which owns
/// the database `onceload`, have the same password.
pub fn start(directory: &Path, port: Option<u16>, settings: &Settings) -> Result<Postgres> {
    let data = directory.join("data");
    let version = fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|it| it.trim().parse().ok());
    let binaries = Binaries::find(version)?;
    if version.is_none() {
        create(&binaries, directory)?;
    }
    let secret = directory.join("secret");
    let password = fs::read_to_string(&secret).context(|| format!("read {}", secret.display()))?;
    stop_leftover(&data.canonicalize().unwrap_or_else(|_| data.clone()));
    let log = directory.join("postgres.log");
    let port = free_port(port)?;
    let mut command = as_owner(&binaries.program("postgres"))?;
    command.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    let common =
        [("max_connections", "500".into()), ("log_timezone", "UTC".into()), ("timezone", "UTC".into())];
    for (name, value) in [("port", port.to_string())].iter().chain(&common).chain(&settings.0) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let process = process::start(&mut command, &log)?;
    let server = Postgres { process, port, bin: binaries.bin, directory: directory.to_path_buf(), password };
    let ready = interrupt::wait_until(Duration::from_secs(120), || {
        if !server.process.is_alive() {
            return Err(Error::advice(format!(
                "PostgreSQL did not start, see {}:\n{}",
                log.display(),
                process::tail(&log, 10)
            )));
        }
        Ok(server.is_ready())
    });
    match ready.and_then(|ready| {
        if ready { server.provide_role() } else { Err(Error::advice("PostgreSQL is not ready")) }
    }) {
        Ok(()) => Ok(server),
        Err(error) => {
            server.stop_at_once();
            Err(error)
        }
    }
}

impl Postgres {
    /// For the functions and for people: the ordinary role on its database.
    pub fn url(&self) -> String {
        self.url_of(ROLE, DATABASE)
    }

    /// For tests that create databases: the superuser.
    pub fn admin_url(&self) -> String {
        self.url_of(ADMIN, "postgres")
    }

    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Runs SQL as `role` on `database` and answers the rows as psql prints them, fields separated by `|`.
    pub fn sql(&self, role: &str, database: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
        ])
        .args(["-U", role, "-d", database])
        .env("PGPASSWORD", &self.password)
        .env("PGOPTIONS", "-c client_min_messages=warning");
        let answer = process::ask(&mut psql, sql.as_bytes())?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Stops the server after it has finished what it must (fast shutdown); the data stays.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGINT);
        if !self.process.wait_gone(Duration::from_secs(60)) {
            self.stop_at_once();
        }
    }

    /// Stops the server as a crash would (immediate shutdown): it recovers at the next start.
    pub fn stop_at_once(&self) {
        self.process.signal(Signal::SIGQUIT);
        if !self.process.wait_gone(Duration::from_secs(10)) {
            self.process.signal(Signal::SIGKILL);
            self.process.wait_gone(Duration::from_secs(5));
        }
    }

    /// The last line of `postmaster.pid` is the server's own word.
    fn is_ready(&self) -> bool {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines();
        lines.next() == Some(&self.process.pid.to_string())
            && lines.last().is_some_and(|it| it.trim() == "ready")
    }

    fn provide_role(&self) -> Result<()> {
        let there =
            self.sql(ADMIN, "postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"))?;
        if there.trim() == "1" {
            return Ok(());
        }
        let role = format!(
            "SELECT 'CREATE ROLE {ROLE} LOGIN PASSWORD ''{}''' WHERE NOT EXISTS
                 (SELECT FROM pg_roles WHERE rolname = '{ROLE}') \\gexec
             CREATE DATABASE {DATABASE} OWNER {ROLE};",
            self.password
        );
        self.sql(ADMIN, "postgres", &role).map(drop)
    }
}

/// Where a server's directory can be: `wanted`, unless the server's user can't get there (as root it runs as
/// `postgres`, who has no business in /root); then one under the system's temporary directory.
pub fn place(wanted: &Path) -> Result<PathBuf> {
    fs::create_dir_all(wanted).context(|| format!("create {}", wanted.display()))?;
    let reachable = as_owner(Path::new("test"))?
        .arg("-x")
        .arg(wanted)
        .stdin(Stdio::null())
        .current_dir("/")
        .status()
        .is_ok_and(|status| status.success());
    if reachable {
        return Ok(wanted.to_path_buf());
    }
    let elsewhere = elsewhere(wanted);
    fs::create_dir_all(&elsewhere).context(|| format!("create {}", elsewhere.display()))?;
    let made = fs::metadata(&elsewhere).context(|| format!("look at {}", elsewhere.display()))?;
    if made.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Error::advice(format!("{} belongs to somebody else: remove it", elsewhere.display())));
    }
    Ok(elsewhere)
}

/// Removes a server's data, wherever [`place`] put it.
pub fn wipe(wanted: &Path) -> Result<()> {
    for directory in [wanted.to_path_buf(), elsewhere(wanted)] {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("remove {}", directory.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The same directory for the same `wanted`, in the system's temporary directory.
fn elsewhere(wanted: &Path) -> PathBuf {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(wanted.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    std::env::temp_dir().join(format!("onceload-postgres-{name}"))
}

fn create(binaries: &Binaries, directory: &Path) -> Result<()> {
    let (data, secret) = (directory.join("data"), directory.join("secret"));
    // What an interrupted initdb left has no PG_VERSION at its place.
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).context(|| format!("create {}", data.display()))?;
    fs::write(&secret, random_password()?).context(|| format!("write {}", secret.display()))?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).context(|| "protect the password")?;
    if let Some(owner) = owner()? {
        for path in [&data, &secret] {
            chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
                .context(|| format!("give {} to {}", path.display(), owner.name))?;
        }
    }
    let mut initdb = as_owner(&binaries.program("initdb"))?;
    // Not SCRAM: its 4,096 rounds take an unoptimised client longer than most tests, and nothing leaves this machine.
    initdb
        .args(["--username", ADMIN, "--auth", "password", "--encoding", "UTF8", "--data-checksums"])
        .args(["--locale", if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" }])
        .arg("--pwfile")
        .arg(&secret)
        .arg("-D")
        .arg(&data);
    let made = process::run_logged(&mut initdb, &directory.join("initdb.log"));
    if made.is_err() {
        let _ = fs::remove_dir_all(&data);
    }
    made
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made.
fn owner() -> Result<Option<User>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres").context(|| "look up the user postgres")?;
    let advice = "PostgreSQL does not run as root, and there is no user `postgres` it could run as: \
                  `useradd --system postgres`, or work as an ordinary user";
    user.map(Some).ok_or_else(|| Error::advice(advice))
}

/// A program run as PostgreSQL's owner, with nothing in its environment that could bend it.
fn as_owner(program: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
    if let Some(owner) = owner()? {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    Ok(command)
}

/// A server on the same data that we have lost sight of (our state file is gone) is stopped. If its postmaster
/// was killed, what is left of it is ended, and its pid file removed: where nobody reaps dead processes, or the
/// number is somebody else's by now, PostgreSQL would refuse to start.
fn stop_leftover(data: &Path) {
    if !Path::new("/proc/self/cwd").exists() {
        return;
    }
    let file = data.join("postmaster.pid");
    let pid = fs::read_to_string(&file).ok().and_then(|text| text.lines().next()?.trim().parse::<u32>().ok());
    // Every process of a server works in its data directory.
    let at_home = |process: &Identity| {
        fs::read_link(format!("/proc/{}/cwd", process.pid)).is_ok_and(|directory| directory == data)
    };
    if let Some(postmaster) = pid.and_then(Identity::of).filter(at_home) {
        postmaster.signal(Signal::SIGINT);
        postmaster.wait_gone(Duration::from_secs(60));
    }
    for orphan in process::all().filter(at_home) {
        orphan.signal(Signal::SIGKILL);
        orphan.wait_gone(Duration::from_secs(10));
    }
    let _ = fs::remove_file(file);
}

/// `wanted` if nobody listens there, else any free port on loopback.
pub fn free_port(wanted: Option<u16>) -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).and_then(|it| it.local_addr());
    let address = match wanted.map(free) {
        Some(Ok(address)) => address,
        _ => free(0).context(|| "find a free port")?,
    };
    Ok(address.port())
}

/// 32 hexadecimal digits that nobody can guess.
pub fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let mut random = fs::File::open("/dev/urandom").context(|| "open /dev/urandom")?;
    random.read_exact(&mut bytes).context(|| "read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn memory_megabytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
