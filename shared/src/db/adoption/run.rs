//! Running the SQL of an adoption: on a connection of its own, under the lock of the migrations.

#![expect(clippy::disallowed_methods, reason = "DDL returns no rows")]

use crate::db::connection::Connection;
use crate::db::error::{DbError, DbResult};
use std::time::Duration;
use tokio_postgres::Client;

/// How long a statement that shuts others out waits for its lock: who reads the table waits behind it.
const LOCK_TIMEOUT: &str = "2s";

/// A direct connection that runs DDL.
pub struct Runner<'a> {
    client: &'a mut Client,
}

impl<'a> Runner<'a> {
    /// Takes the connection over and waits for the lock of the migrations, which ends with the connection.
    pub async fn begin(connection: &'a mut Connection) -> DbResult<Self> {
        let client = connection.take_over()?;
        let sql = format!("SET lock_timeout = 0; SELECT pg_advisory_lock({})", crate::db::migrate::LOCK);
        client.batch_execute(&sql).await.map_err(|error| DbError::postgres("adoption.lock", error))?;
        Ok(Self { client })
    }

    /// Runs statements that must not keep others waiting, in one transaction.
    pub async fn in_transaction(&mut self, statements: &[String]) -> DbResult<()> {
        let failed = |error| DbError::postgres("adoption.apply", error);
        let transaction = self.client.transaction().await.map_err(failed)?;
        let limits =
            format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL statement_timeout = '60s'");
        transaction.batch_execute(&limits).await.map_err(failed)?;
        for sql in statements {
            transaction.batch_execute(sql).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Runs one statement that waits for others and lets them work, such as CREATE INDEX CONCURRENTLY.
    pub async fn concurrently(&mut self, sql: &str, at_most: Duration) -> DbResult<()> {
        let failed = |error| DbError::postgres("adoption.apply", error);
        let limits = format!("SET lock_timeout = 0; SET statement_timeout = {}", at_most.as_millis().max(1));
        self.client.batch_execute(&limits).await.map_err(failed)?;
        self.client.batch_execute(sql).await.map_err(failed)
    }
}
