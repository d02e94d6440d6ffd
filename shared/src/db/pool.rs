//! The pool of connections. One for an HTTP function, two for a long step: one works, one watches. A
//! step that works on two connections has three.

use super::connection::Connection;
use super::error::{DbError, DbResult};
use super::statement::{Binds, Statement};
use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the first statement of an invocation may take before its connection counts as dead: a frozen environment
/// leaves sockets behind from which nothing ever comes.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

const PING: Statement = Statement { name: "pool.ping", sql: include_str!("ping.sql") };
const SIZE: Statement = Statement { name: "pool.size", sql: include_str!("size.sql") };

/// The statements of this file.
pub(super) const STATEMENTS: &[Statement] = &[PING, SIZE];

/// How a function uses the database.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The most connections that it holds at a time.
    pub connections: usize,
    /// How long it waits for a connection, and for the answer to a statement outside a transaction.
    pub patience: Duration,
}

impl Usage {
    /// A step of a state machine.
    pub fn step(connections: usize) -> Self {
        Self { connections, patience: Duration::from_secs(15) }
    }

    /// A function that answers HTTP requests: a client is told to come again rather than kept waiting.
    pub fn http() -> Self {
        Self { connections: 1, patience: Duration::from_secs(3) }
    }
}

/// The database as the functions see it.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    patience: Duration,
}

impl Database {
    /// Makes a pool; nothing is connected yet.
    ///
    /// `url`: `postgres://user:password@host:port/name?sslmode=verify-full`. With TLS the server's certificate and name are
    /// always checked, so `require` is as strict. `ca_pem`: further roots to trust, such as the bundle of RDS, which no
    /// system store holds.
    pub fn new(url: &str, usage: Usage, ca_pem: Option<&[u8]>) -> DbResult<Self> {
        // The driver has no names for libpq's `verify-ca` and `verify-full`, and does what they ask for.
        let url = url
            .replace("sslmode=verify-ca", "sslmode=require")
            .replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().map_err(|error| DbError::postgres("pool.url", error))?;
        config.connect_timeout(usage.patience.min(Duration::from_secs(5)));
        config.keepalives_idle(Duration::from_secs(30));
        config.application_name("onceload");
        // Whether a connection is alive shows in `first`, once per invocation, without asking.
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if config.get_ssl_mode() == SslMode::Disable {
            Manager::from_config(config, NoTls, manager_config)
        } else {
            Manager::from_config(config, tls(ca_pem)?, manager_config)
        };
        let pool = Pool::builder(manager)
            .max_size(usage.connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(usage.patience))
            .create_timeout(Some(usage.patience))
            .build()
            .map_err(|error| DbError::defect("pool.build", error.to_string()))?;
        Ok(Self { pool, patience: usage.patience })
    }

    /// Takes a connection from the pool, or makes one.
    pub async fn connection(&self) -> DbResult<Connection> {
        match self.pool.get().await {
            Ok(object) => Ok(Connection::new(object, self.patience)),
            // Refused by the server with a reason, or not reached at all.
            Err(PoolError::Backend(error)) if error.code().is_some() => {
                Err(DbError::postgres("pool.connect", error))
            }
            Err(error) => Err(DbError::no_connection("pool.connect", error)),
        }
    }

    /// Runs the first statement of an invocation, one that may run twice. If its connection turns out to be dead, all
    /// that lie in the pool are given up and it runs again on a new one: what comes after it needs no such care.
    pub async fn first(&self, statement: &Statement, binds: &Binds<'_>) -> DbResult<Row> {
        let answer = timeout(self.patience, self.run_first(statement, binds)).await;
        answer.unwrap_or_else(|_| Err(DbError::no_answer(statement.name, self.patience)))
    }

    async fn run_first(&self, statement: &Statement, binds: &Binds<'_>) -> DbResult<Row> {
        let connection = self.connection().await?;
        match timeout(FIRST_ANSWER.min(self.patience / 2), statement.one(&connection, binds)).await {
            Ok(Err(error)) if error.is_transient() => {
                tracing::debug!(%error, cause = %error.cause, "connecting again");
            }
            Ok(done) => return done,
            Err(_) => tracing::debug!(statement = statement.name, "no answer: connecting again"),
        }
        drop(connection);
        self.pool.retain(|_, _| false);
        statement.one(&self.connection().await?, binds).await
    }

    /// The first statement of an invocation that has no better one.
    pub async fn ping(&self) -> DbResult<()> {
        self.first(&PING, &[]).await.map(drop)
    }

    /// Bytes that the database takes on its disk, without the write-ahead log.
    pub async fn size(&self) -> DbResult<u64> {
        let row = SIZE.one(&self.connection().await?, &[]).await?;
        Ok(row.get::<_, i64>("bytes").cast_unsigned())
    }
}

fn tls(ca_pem: Option<&[u8]>) -> DbResult<MakeRustlsConnect> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = ca_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| DbError::defect("pool.ca", format!("{e:?}")))?;
            roots.add(certificate).map_err(|e| DbError::defect("pool.ca", e.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| DbError::defect("pool.tls", e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
