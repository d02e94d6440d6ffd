//! Runs Onceload on one machine: a private PostgreSQL, the local AWS engine and the functions as processes, deployed from
//! the same template.yaml as on AWS. Each stack has a directory of its own, such as `target/local` and `target/test`.

mod file;
mod outage;
mod schema;
mod state;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::Digest;

pub use self::file::{StackFile, User};
pub use self::outage::{crash_database, restart_pooler, servers, stop_database};
pub(crate) use self::state::lock_file;
use self::state::{Deployed, State, lock};
use crate::deploy::Request;
use crate::engine::{Engine, REGION};
use crate::postgres::{self, Pooler, Postgres, Settings};
use crate::python::{Python, script};
use crate::{Context, Error, Result, aws, functions, interrupt, provision, say};

/// The differences between a stack and the one of `cargo xtask up`.
#[derive(Clone, Debug)]
pub struct Options {
    pub settings: Settings,
    /// Whether the functions connect through a transaction-mode pooler. Migrations never do.
    pub pooled: bool,
    /// Parameters of template.yaml, besides those that every local deployment sets.
    pub parameters: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { settings: Settings::local(), pooled: false, parameters: BTreeMap::new() }
    }
}

/// A running stack. Dropping the value doesn't stop it; [`down`] does.
#[derive(Debug)]
pub struct Stack {
    pub directory: PathBuf,
    pub file: StackFile,
    pub postgres: Postgres,
    pub engine: Engine,
    /// False if the whole stack was already running.
    pub started: bool,
    python: Python,
}

impl Stack {
    /// The psql that goes with the server.
    pub fn psql(&self) -> PathBuf {
        self.postgres.psql()
    }

    /// The executable of the AWS command line.
    pub fn aws(&self) -> PathBuf {
        self.python.program("aws")
    }

    /// The directory with the engine's log, and under `functions/` a log of each function.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Prints the addresses and files of the stack.
    pub fn describe(&self) {
        let file = &self.file;
        let (_, functions) = self.engine.logs();
        say::line(format_args!(
            "\nOnceload is up.\n  API        {}\n  bucket     s3://{} at {}\n  database   {}\n  logs       {}\n             {}\n  \
             details    {}\n  stop       cargo xtask down",
            file.api_url,
            file.bucket,
            file.aws_endpoint_url,
            file.database_url,
            functions.display(),
            self.postgres.directory.join("postgres.log").display(),
            self.directory.join("stack.json").display(),
        ));
    }
}

/// Brings a stack up: starts what is not running, builds and deploys what has changed, and renews the tokens.
///
/// A failure stops what this call started. An interrupt stops the whole stack.
pub fn up(directory: &Path, options: &Options) -> Result<Stack> {
    let _lock = lock(directory)?;
    let mut state = State::load(directory);
    let (had_postgres, had_engine) = (state.postgres.is_some(), state.engine.is_some());
    let result = bring_up(directory, options, &mut state);
    if let Err(error) = &result {
        let all = matches!(error, Error::Interrupted);
        if all || !had_engine {
            state.stop_engine();
        }
        if all || !had_postgres {
            state.stop_postgres();
        }
        if state.engine.is_none() {
            let _ = fs::remove_file(directory.join("stack.json"));
        }
        let _ = state.save(directory);
    }
    result.map(|stack| Stack { started: !(had_postgres && had_engine), ..stack })
}

/// Starts only the stack's PostgreSQL. A later [`up`] uses it.
pub fn start_database(directory: &Path, settings: &Settings) -> Result<Postgres> {
    let _lock = lock(directory)?;
    let mut state = State::load(directory);
    ensure_postgres(directory, settings, &mut state)
}

/// Starts a transaction-mode pooler in front of that PostgreSQL.
pub fn start_pooler(directory: &Path, postgres: &Postgres) -> Result<Pooler> {
    let _lock = lock(directory)?;
    let mut state = State::load(directory);
    ensure_pooler(directory, postgres, &mut state)
}

/// Stops what [`up`], [`start_database`] and [`start_pooler`] started in this directory, and removes the data if `wipe`.
/// Returns whether anything was running.
pub fn down(directory: &Path, wipe: bool) -> Result<bool> {
    if !directory.exists() {
        return Ok(false);
    }
    let guard = lock(directory)?;
    let mut state = State::load(directory);
    let was_running = state.postgres.is_some() || state.engine.is_some();
    state.stop_engine();
    state.stop_postgres();
    let _ = fs::remove_file(directory.join("stack.json"));
    if wipe {
        postgres::wipe(&directory.join("postgres"))?;
        drop(guard);
        fs::remove_dir_all(directory).context(|| format!("remove {}", directory.display()))?;
    } else {
        state.save(directory)?;
    }
    Ok(was_running)
}

fn bring_up(directory: &Path, options: &Options, state: &mut State) -> Result<Stack> {
    let python = Python::provide()?;
    let binaries = functions::build()?;
    let postgres = ensure_postgres(directory, &options.settings, state)?;
    let engine = ensure_engine(directory, &python, state)?;
    if state.logins.is_empty() {
        state.logins = provision::new_logins()?;
    }
    let mut parameters = options.parameters.clone();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    parameters.insert("Architecture".into(), architecture.into());
    if options.pooled {
        parameters.insert("DatabaseUrl".into(), ensure_pooler(directory, &postgres, state)?.url());
        parameters.insert("MigrationDatabaseUrl".into(), postgres.url());
    } else {
        parameters.insert("DatabaseUrl".into(), postgres.url());
    }
    let request = Request::new(directory, &engine, parameters, binaries, state.logins.clone());
    let deployed = ensure_deployed(directory, &engine, &python, &request, state)?;
    interrupt::check()?;
    let file = publish(directory, &postgres, &engine, &deployed, state)?;
    Ok(Stack { directory: directory.to_path_buf(), file, postgres, engine, started: true, python })
}

fn ensure_postgres(directory: &Path, settings: &Settings, state: &mut State) -> Result<Postgres> {
    if let Some(running) = &state.postgres {
        return Ok(running.clone());
    }
    // A pooler in front of a server that has ended has the server's old port.
    state.stop_postgres();
    let step = say::step("Starting PostgreSQL");
    let place = postgres::find_directory(&directory.join("postgres"))?;
    let started = postgres::start(&place, state.postgres_port, settings)?;
    state.postgres_port = Some(started.port);
    state.postgres = Some(started.clone());
    state.save(directory)?;
    step.done(format_args!("127.0.0.1:{}, data in {}", started.port, place.display()));
    Ok(started)
}

fn ensure_pooler(directory: &Path, postgres: &Postgres, state: &mut State) -> Result<Pooler> {
    if let Some(running) = &state.pooler {
        return Ok(running.clone());
    }
    let step = say::step("Starting PgBouncer");
    let started = Pooler::start(postgres, state.pooler_port)?;
    state.pooler_port = Some(started.port);
    state.pooler = Some(started.clone());
    state.save(directory)?;
    step.done(format_args!("127.0.0.1:{}, transaction mode", started.port));
    Ok(started)
}

fn ensure_engine(directory: &Path, python: &Python, state: &mut State) -> Result<Engine> {
    let code = hash_engine_code()?;
    match &state.engine {
        Some(running) if state.engine_code == code => return Ok(running.clone()),
        _ => state.stop_engine(),
    }
    let step = say::step("Starting the AWS engine");
    let started = Engine::start(python, directory, state.engine_port)?;
    state.engine_port = Some(started.port);
    state.engine = Some(started.clone());
    state.engine_code = code;
    state.save(directory)?;
    step.done(started.endpoint());
    Ok(started)
}

/// A hash of the files that the engine runs. When it changes, the engine must be started again.
fn hash_engine_code() -> Result<String> {
    let mut hash = sha2::Sha256::new();
    for name in ["serve.py", "corrections.py", "gate.py", "requirements.txt"] {
        let path = script(name);
        hash.update(fs::read(&path).context(|| format!("read {}", path.display()))?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn ensure_deployed(
    directory: &Path,
    engine: &Engine,
    python: &Python,
    request: &Request,
    state: &mut State,
) -> Result<Deployed> {
    let fingerprint = request.fingerprint()?;
    if let Some(deployed) = &mut state.deployed
        && deployed.engine == engine.process
        && deployed.fingerprint == fingerprint
    {
        for (user, login) in deployed.deployment.users.iter_mut().zip(&state.logins) {
            let client = &deployed.deployment.client_id;
            user.token = aws::sign_in(&engine.endpoint(), client, &login.email, &login.password)?;
        }
        return Ok(deployed.clone());
    }
    let step = say::step("Deploying template.yaml");
    state.deployed = None;
    state.save(directory)?;
    let deployment = request.deploy(python)?;
    let deployed = Deployed { engine: engine.process.clone(), fingerprint, deployment };
    state.deployed = Some(deployed.clone());
    state.save(directory)?;
    step.done(format_args!("{} outputs", deployed.deployment.outputs.len()));
    Ok(deployed)
}

/// Migrates, provisions and writes `stack.json`.
fn publish(
    directory: &Path,
    postgres: &Postgres,
    engine: &Engine,
    deployed: &Deployed,
    state: &mut State,
) -> Result<StackFile> {
    let deployment = &deployed.deployment;
    let output = |name: &str| {
        let value = deployment.outputs.get(name).cloned();
        value.ok_or_else(|| Error::advice(format!("template.yaml has no output {name}")))
    };
    let step = say::step("Migrating the database");
    let migrate_function = output("MigrateFunctionName")?;
    let answer = schema::migrate(directory, postgres, engine, &migrate_function)?;
    let ids = provision::provision(postgres, &deployment.users)?;
    let applied = answer["applied"].as_array().map_or(0, Vec::len);
    step.done(format_args!("{applied} applied, at version {}", answer["version"]));
    let users = deployment.users.iter().zip(ids);
    let file = StackFile {
        api_url: format!("{}/_aws/execute-api/{}", engine.endpoint(), deployment.api_id),
        database_url: postgres.url_for_people(),
        aws_endpoint_url: engine.endpoint(),
        region: REGION.into(),
        bucket: output("BucketName")?,
        state_machine_arn: output("StateMachineArn")?,
        maintenance_state_machine_arn: deployment.outputs.get("MaintenanceStateMachineArn").cloned(),
        migrate_function,
        users: users
            .map(|(user, user_id)| User { email: user.email.clone(), user_id, token: user.token.clone() })
            .collect(),
        merchants: provision::merchants(),
    };
    state.save(directory)?;
    file.write(directory)?;
    Ok(file)
}
