//! What a function works with once it is started: configuration from the environment, clients, a pool.

use super::clients::{self, Clients};
use super::serve::Budget;
use crate::db::{Database, Usage};
use crate::domain::message::Kind;
use crate::s3::objects::Objects;
use aws_config::SdkConfig;
use serde::Deserialize;
use std::time::Duration;

/// What a loader reads in the 15 minutes of a function, at 55 MB of text a second (docs/BENCHMARK.md).
pub const MAX_DECOMPRESSED_BYTES: u64 = 50_000_000_000;

/// The environment of a function; names as in `template.yaml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bucket of uploads and reports.
    pub bucket: String,
    /// The state machine `import`, where the function may start it.
    pub state_machine_arn: Option<String>,
    /// The state machine `maintenance`, where the function may start it.
    pub maintenance_state_machine_arn: Option<String>,
    /// The messages of the outbox that the function's role allows it to send.
    pub delivers: Vec<Kind>,
    /// The queue of imports without a job, where the function may start them again.
    pub unregistered_imports_url: Option<String>,
    /// The event bus of `ImportStateChanged`.
    pub event_bus_name: String,
    /// How long an import waits for an approval.
    pub approval_timeout: Duration,
    /// How long `insert-codes` has for work: what takes longer is not approved.
    pub insert_limit: Duration,
    /// How long staging is kept after the end of an import.
    pub staging_retention_days: i32,
    /// How long the bucket keeps uploads.
    pub upload_retention_days: i32,
    /// Bytes of the database's disk, if they are known.
    pub database_storage: Option<u64>,
    /// How many files of an import are loaded at a time.
    pub load_concurrency: u32,
    /// How many chunks of an import are marked at a time.
    pub mark_concurrency: u32,
    /// How many bytes of text a compressed file may hold.
    pub max_decompressed_bytes: u64,
    /// The server past its pooler, for `migrate`.
    pub migration_database_url: Option<String>,
}

impl Config {
    /// Reads the environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &'static str, default: u32| match text(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| ConfigError::NotANumber { name, value }),
        };
        let seconds = |name, default| number(name, default).map(|s| Duration::from_secs(u64::from(s)));
        Ok(Self {
            bucket: text("BUCKET").unwrap_or_default(),
            state_machine_arn: text("STATE_MACHINE_ARN"),
            maintenance_state_machine_arn: text("MAINTENANCE_STATE_MACHINE_ARN"),
            delivers: read_kinds(&text("DELIVERS").unwrap_or_default())?,
            unregistered_imports_url: text("UNREGISTERED_IMPORTS_URL"),
            event_bus_name: text("EVENT_BUS_NAME").unwrap_or_else(|| "default".into()),
            approval_timeout: seconds("APPROVAL_TIMEOUT_SECONDS", 604_800)?,
            insert_limit: Budget::within(seconds("INSERT_TIMEOUT_SECONDS", 900)?),
            staging_retention_days: i32::try_from(number("STAGING_RETENTION_DAYS", 7)?).unwrap_or(7),
            upload_retention_days: i32::try_from(number("UPLOAD_RETENTION_DAYS", 30)?).unwrap_or(30),
            database_storage: match number("DATABASE_STORAGE_GIB", 0)? {
                0 => None,
                gib => Some(u64::from(gib) << 30),
            },
            load_concurrency: number("LOAD_CONCURRENCY", 4)?,
            mark_concurrency: number("MARK_CONCURRENCY", 4)?,
            max_decompressed_bytes: match text("MAX_DECOMPRESSED_BYTES") {
                None => MAX_DECOMPRESSED_BYTES,
                Some(value) => value
                    .parse()
                    .map_err(|_| ConfigError::NotANumber { name: "MAX_DECOMPRESSED_BYTES", value })?,
            },
            migration_database_url: text("MIGRATION_DATABASE_URL"),
        })
    }

    /// The messages that the function can send: it has the right, and knows the state machine.
    pub fn deliverable(&self) -> Vec<Kind> {
        let knows = |kind: &Kind| match kind {
            Kind::StartExecution => self.state_machine_arn.is_some(),
            Kind::StartMaintenance => self.maintenance_state_machine_arn.is_some(),
            _ => true,
        };
        self.delivers.iter().copied().filter(knows).collect()
    }
}

/// Reads kinds of messages, separated by commas.
fn read_kinds(list: &str) -> Result<Vec<Kind>, ConfigError> {
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| Kind::by_name(word).ok_or_else(|| ConfigError::UnknownMessage(word.into()))).collect()
}

/// Why a function can't start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("{name} is `{value}`, not a number")]
    NotANumber { name: &'static str, value: String },
    #[error("DELIVERS names `{0}`, which is no kind of a message")]
    UnknownMessage(String),
    #[error("neither DATABASE_URL nor DATABASE_SECRET_ARN is set")]
    NoDatabase,
    #[error("the database secret could not be read")]
    Secret(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the file of DATABASE_CA_FILE could not be read")]
    CaFile(#[source] std::io::Error),
    #[error("the database pool could not be made")]
    Pool(#[source] crate::db::DbError),
}

/// Everything a handler works with. Made once per cold start.
#[derive(Clone)]
pub struct App {
    /// The environment.
    pub config: Config,
    /// The pool of connections.
    pub db: Database,
    /// The clients of AWS's services.
    pub clients: Clients,
}

impl App {
    /// Reads the environment.
    pub async fn from_env(usage: Usage) -> Result<Self, ConfigError> {
        let aws = clients::read_environment();
        let url = database_url(&aws).await?;
        Self::new(aws, &url, usage)
    }

    /// The same from its parts.
    pub fn new(aws: SdkConfig, database_url: &str, usage: Usage) -> Result<Self, ConfigError> {
        let config = Config::from_env()?;
        let db = open_database(database_url, usage)?;
        Ok(Self { clients: Clients::new(aws, &config.bucket), config, db })
    }

    /// The objects of the bucket.
    pub fn objects(&self) -> &Objects {
        self.clients.objects()
    }
}

/// A pool on this server, whose certificate may be signed by the authority of `DATABASE_CA_FILE`.
pub fn open_database(url: &str, usage: Usage) -> Result<Database, ConfigError> {
    let ca = match std::env::var("DATABASE_CA_FILE").ok().filter(|path| !path.is_empty()) {
        Some(path) => Some(std::fs::read(path).map_err(ConfigError::CaFile)?),
        None => None,
    };
    Database::new(url, usage, ca.as_deref()).map_err(ConfigError::Pool)
}

/// The secret that RDS and the console make; or a plain URL.
#[derive(Deserialize)]
struct DatabaseSecret {
    host: String,
    #[serde(default = "default_port")]
    port: u16,
    username: String,
    password: String,
    #[serde(alias = "database", default = "default_name")]
    dbname: String,
}

fn default_port() -> u16 {
    5432
}

fn default_name() -> String {
    "postgres".into()
}

async fn database_url(aws: &SdkConfig) -> Result<String, ConfigError> {
    if let Ok(url) = std::env::var("DATABASE_URL")
        && !url.is_empty()
    {
        return Ok(url);
    }
    let arn = std::env::var("DATABASE_SECRET_ARN")
        .ok()
        .filter(|arn| !arn.is_empty())
        .ok_or(ConfigError::NoDatabase)?;
    let secret = aws_sdk_secretsmanager::Client::new(aws)
        .get_secret_value()
        .secret_id(arn)
        .send()
        .await
        .map_err(|e| ConfigError::Secret(e.into()))?;
    let secret = secret.secret_string().unwrap_or_default();
    if secret.starts_with("postgres://") || secret.starts_with("postgresql://") {
        return Ok(secret.to_owned());
    }
    let DatabaseSecret { host, port, username, password, dbname } =
        serde_json::from_str(secret).map_err(|e| ConfigError::Secret(e.into()))?;
    Ok(format!(
        "postgres://{}:{}@{host}:{port}/{dbname}?sslmode=require",
        percent_encode(&username),
        percent_encode(&password)
    ))
}

/// RFC 3986: everything but unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
