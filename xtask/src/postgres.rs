//! Starts a private PostgreSQL from the installed programs, on loopback, with a password and a directory of its own.

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

pub use self::binaries::{Binaries, find_psql};
pub use self::pooler::Pooler;
use crate::process::{self, Identity};
use crate::{Context, Error, Result, interrupt};

/// The ordinary role that owns the database and that the functions connect as.
pub const ROLE: &str = "onceload";
/// The database of the functions.
pub const DATABASE: &str = "onceload";
const ADMIN: &str = "postgres";

/// Server settings, besides those that every instance has.
#[derive(Clone, Debug)]
pub struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// The settings of `cargo xtask up`: durable as in production, and small.
    pub fn local() -> Self {
        Self(vec![("shared_buffers", "512MB".into()), ("max_wal_size", "4GB".into())])
    }

    /// The settings of the tests: a crash of the machine may lose data, a crash of the server may not.
    pub fn test() -> Self {
        let mut settings = Self::local();
        settings.0.extend([("fsync", "off".into()), ("full_page_writes", "off".into())]);
        settings
    }

    /// The settings of the benchmark: durable, with memory and with log space of so many GB.
    pub fn bench(log: u64) -> Self {
        let quarter = memory_megabytes().map_or(1024, |all| all / 4);
        Self(vec![
            ("shared_buffers", format!("{}MB", quarter.min(4096))),
            ("max_wal_size", format!("{log}GB")),
            // The server reuses log segments, as after a long run, instead of creating them.
            ("min_wal_size", format!("{}GB", log / 2)),
            ("checkpoint_timeout", "15min".into()),
        ])
    }

    /// Adds a setting, such as `.with("max_connections", "20")`.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((name, value.into()));
        self
    }
}

/// A running server. Dropping the value doesn't stop it; [`Postgres::stop`] does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Postgres {
    pub process: Identity,
    pub port: u16,
    /// The directory of PostgreSQL's programs.
    pub bin: PathBuf,
    /// The directory of `data/`, `secret` and `postgres.log`.
    pub directory: PathBuf,
    password: String,
}

/// Starts a server on the data in `directory` (see [`find_directory`]), and creates the data if there is none.
///
/// The server listens on 127.0.0.1, on `port` if that is free. The superuser `postgres` and the role `onceload`, which
/// owns the database `onceload`, have the same password.
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
    let mut command = command_as_owner(&binaries.program("postgres"))?;
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
                "PostgreSQL did not start; see {}:\n{}",
                log.display(),
                process::tail(&log, 10)
            )));
        }
        Ok(server.is_ready())
    });
    match ready.and_then(|ready| {
        if ready { server.provide_role() } else { Err(Error::advice("PostgreSQL did not become ready")) }
    }) {
        Ok(()) => Ok(server),
        Err(error) => {
            server.stop_at_once();
            Err(error)
        }
    }
}

impl Postgres {
    /// For the functions: the ordinary role on its database. Its search_path is empty, so that a name without its schema
    /// fails.
    pub fn url(&self) -> String {
        self.url_of(ROLE, DATABASE)
    }

    /// For people: the same, with a search_path that lets them leave the schema out.
    pub fn url_for_people(&self) -> String {
        format!("{}?options=-c%20search_path%3Donceload%2Cpublic", self.url())
    }

    /// For tests that create databases: the superuser.
    pub fn admin_url(&self) -> String {
        self.url_of(ADMIN, "postgres")
    }

    /// The URL of a role on a database.
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The psql that goes with the server.
    pub fn psql(&self) -> PathBuf {
        find_psql(&self.bin).unwrap_or_else(|| "psql".into())
    }

    /// Runs SQL as `role` on `database` and returns the rows as psql prints them, with `|` between the fields.
    pub fn sql(&self, role: &str, database: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.psql());
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

    /// Stops the server in order (fast shutdown). The data stays.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGINT);
        if !self.process.wait_gone(Duration::from_secs(60)) {
            self.stop_at_once();
        }
    }

    /// Stops the server without a checkpoint (immediate shutdown). It recovers at the next start.
    pub fn stop_at_once(&self) {
        self.process.signal(Signal::SIGQUIT);
        if !self.process.wait_gone(Duration::from_secs(10)) {
            self.process.signal(Signal::SIGKILL);
            self.process.wait_gone(Duration::from_secs(5));
        }
    }

    /// The server writes its state into the last line of `postmaster.pid`.
    fn is_ready(&self) -> bool {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines();
        lines.next() == Some(&self.process.pid.to_string())
            && lines.last().is_some_and(|it| it.trim() == "ready")
    }

    fn provide_role(&self) -> Result<()> {
        let exists =
            self.sql(ADMIN, "postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"))?;
        if exists.trim() == "1" {
            return Ok(());
        }
        let role = format!(
            "SELECT 'CREATE ROLE {ROLE} LOGIN PASSWORD ''{}''' WHERE NOT EXISTS
                 (SELECT FROM pg_roles WHERE rolname = '{ROLE}') \\gexec
             ALTER ROLE {ROLE} SET search_path = '';
             CREATE DATABASE {DATABASE} OWNER {ROLE};",
            self.password
        );
        self.sql(ADMIN, "postgres", &role).map(drop)
    }
}

/// Finds a directory for a server: `wanted`, or one under the system's temporary directory if the server's user has no
/// access to `wanted`. Under root, PostgreSQL runs as the user `postgres`, who has no access to /root.
pub fn find_directory(wanted: &Path) -> Result<PathBuf> {
    fs::create_dir_all(wanted).context(|| format!("create {}", wanted.display()))?;
    let is_reachable = command_as_owner(Path::new("test"))?
        .arg("-x")
        .arg(wanted)
        .stdin(Stdio::null())
        .current_dir("/")
        .status()
        .is_ok_and(|status| status.success());
    if is_reachable {
        return Ok(wanted.to_path_buf());
    }
    let fallback = fallback_directory(wanted);
    fs::create_dir_all(&fallback).context(|| format!("create {}", fallback.display()))?;
    let metadata = fs::metadata(&fallback).context(|| format!("read the owner of {}", fallback.display()))?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Error::advice(format!("{} belongs to another user: remove it", fallback.display())));
    }
    Ok(fallback)
}

/// Removes a server's data from either directory that [`find_directory`] may have chosen.
pub fn wipe(wanted: &Path) -> Result<()> {
    for directory in [wanted.to_path_buf(), fallback_directory(wanted)] {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("remove {}", directory.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A directory under the system's temporary directory, always the same for the same `wanted`.
fn fallback_directory(wanted: &Path) -> PathBuf {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(wanted.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    std::env::temp_dir().join(format!("onceload-postgres-{name}"))
}

fn create(binaries: &Binaries, directory: &Path) -> Result<()> {
    let (data, secret) = (directory.join("data"), directory.join("secret"));
    // An interrupted initdb may have left files.
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).context(|| format!("create {}", data.display()))?;
    fs::write(&secret, random_password()?).context(|| format!("write {}", secret.display()))?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).context(|| "protect the password")?;
    if let Some(owner) = find_owner()? {
        for path in [&data, &secret] {
            chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
                .context(|| format!("give {} to {}", path.display(), owner.name))?;
        }
    }
    let mut initdb = command_as_owner(&binaries.program("initdb"))?;
    // Plain passwords, because nothing leaves this machine. SCRAM's 4,096 rounds take an unoptimised client longer than
    // most tests.
    initdb
        .args(["--username", ADMIN, "--auth", "password", "--encoding", "UTF8", "--data-checksums"])
        .args(["--locale", if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" }])
        .arg("--pwfile")
        .arg(&secret)
        .arg("-D")
        .arg(&data);
    let created = process::run_logged(&mut initdb, &directory.join("initdb.log"));
    if created.is_err() {
        let _ = fs::remove_dir_all(&data);
    }
    created
}

/// The user that runs the server if this user is root: PostgreSQL refuses to run as root.
fn find_owner() -> Result<Option<User>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres").context(|| "look up the user postgres")?;
    let advice = "PostgreSQL refuses to run as root, and the user `postgres` does not exist: run \
                  `useradd --system postgres`, or work as an ordinary user";
    user.map(Some).ok_or_else(|| Error::advice(advice))
}

/// A command that runs a program as PostgreSQL's owner, with a clean environment.
fn command_as_owner(program: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
    if let Some(owner) = find_owner()? {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    Ok(command)
}

/// Stops a server that still runs on this data after its state file was lost. If its postmaster was killed, ends the
/// remaining processes and removes the pid file: PostgreSQL refuses to start while a process with that pid exists, even
/// a zombie or an unrelated one.
fn stop_leftover(data: &Path) {
    if !Path::new("/proc/self/cwd").exists() {
        return;
    }
    let file = data.join("postmaster.pid");
    let pid = fs::read_to_string(&file).ok().and_then(|text| text.lines().next()?.trim().parse::<u32>().ok());
    // The data directory is the working directory of every process of a server.
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

/// Returns `wanted` if no process listens there, or else another free port on loopback.
pub fn free_port(wanted: Option<u16>) -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).and_then(|it| it.local_addr());
    let address = match wanted.map(free) {
        Some(Ok(address)) => address,
        _ => free(0).context(|| "find a free port")?,
    };
    Ok(address.port())
}

/// Makes a password of 32 random hexadecimal digits.
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
