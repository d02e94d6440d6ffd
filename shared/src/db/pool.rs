//! Connections. One per environment for HTTP functions, two for long steps: one works, one watches.

use super::error::{DbError, DbResult};
use super::rows::{Param, Statement};
use super::sql;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A connection that goes back to the pool when it is dropped.
pub type Connection = Object;

/// How long the first statement of an invocation may take before its connection counts as dead: a frozen environment
/// leaves sockets behind from which nothing ever comes.
const ALIVE: Duration = Duration::from_secs(2);

/// The database as the functions see it.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
}

impl Database {
    /// A pool of at most `connections`; nothing is connected yet.
    ///
    /// `url`: `postgres://user:password@host:port/name?sslmode=verify-full`. With TLS the server's certificate and name are
    /// always checked, so `require` is as strict. `ca_pem`: further roots to trust, such as the bundle of RDS, which no
    /// system store holds.
    pub fn new(url: &str, connections: usize, ca_pem: Option<&[u8]>) -> DbResult<Self> {
        // The driver knows libpq's `verify-ca` and `verify-full` by no name, and does what they ask for.
        let url = url
            .replace("sslmode=verify-ca", "sslmode=require")
            .replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config =
            url.parse().map_err(|e: tokio_postgres::Error| DbError::new("pool.url", e))?;
        config.connect_timeout(Duration::from_secs(5));
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
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(Duration::from_secs(10)))
            .create_timeout(Some(Duration::from_secs(8)))
            .build()
            .map_err(|e| DbError::new("pool.build", e))?;
        Ok(Self { pool })
    }

    pub async fn connection(&self) -> DbResult<Connection> {
        self.pool.get().await.map_err(|e| match e {
            deadpool_postgres::PoolError::Backend(e) => DbError::new("pool.connect", e),
            e => DbError::new("pool.get", e),
        })
    }

    /// Runs the first statement of an invocation, one that may run twice. If its connection turns out dead, all that lie
    /// in the pool are given up, and it runs again on a new one: what comes after it needs no such care.
    pub async fn first(&self, statement: &Statement, params: &[Param<'_>]) -> DbResult<Row> {
        let connection = self.connection().await?;
        match timeout(ALIVE, statement.one(client(&connection), params)).await {
            Ok(Err(error)) if error.is_transient() => {
                tracing::warn!(%error, causes = ?error.source, "connecting again");
            }
            Ok(done) => return done,
            Err(_) => tracing::warn!(statement = statement.name, "no answer: connecting again"),
        }
        drop(Object::take(connection));
        self.pool.retain(|_, _| false);
        statement.one(client(&self.connection().await?), params).await
    }

    /// The first statement of an invocation that has no better one.
    pub async fn ping(&self) -> DbResult<()> {
        self.first(&sql::POOL_PING, &[]).await.map(drop)
    }
}

/// The plain client inside a pooled connection.
pub fn client(connection: &Connection) -> &Client {
    connection
}

fn tls(ca_pem: Option<&[u8]>) -> DbResult<MakeRustlsConnect> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = ca_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| DbError::new("pool.ca", format!("{e:?}")))?;
            roots.add(certificate).map_err(|e| DbError::new("pool.ca", e))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| DbError::new("pool.tls", e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_of_libpq_that_checks_is_understood() {
        for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            let url = format!("postgres://user:password@db.example:5432/name?sslmode={mode}");
            assert!(Database::new(&url, 1, None).is_ok(), "{mode}");
        }
        assert!(Database::new("postgres://db.example/name?sslmode=none", 1, None).is_err());
    }
}
