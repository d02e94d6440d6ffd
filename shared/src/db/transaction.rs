//! Transactions with a name and limits. A dead function's backend must let go of what it holds, so every
//! transaction bounds its statements, its waits for locks and its idle time.

use super::error::{DbError, DbResult};
use super::pool::Connection;
use super::rows::{Param, Statement};
use std::time::Duration;
use tokio_postgres::{Row, Transaction};

/// Bounds of one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest statement.
    pub statement: Duration,
    /// Longest wait for a lock; running into it is `Transient`.
    pub lock: Duration,
    /// Sorts and joins over staging and production: plain plans with room to sort in memory.
    pub bulk: bool,
}

impl Limits {
    /// Short reads and writes.
    pub fn short() -> Self {
        Self { statement: Duration::from_secs(10), lock: Duration::from_secs(5), bulk: false }
    }

    /// Work over many rows that must end within `statement`.
    pub fn bulk(statement: Duration) -> Self {
        Self { statement, lock: Duration::from_secs(5), bulk: true }
    }
}

/// Begins a transaction. Dropped without `commit`, it is rolled back.
pub async fn begin<'a>(
    connection: &'a mut Connection,
    name: &'static str,
    limits: Limits,
) -> DbResult<Transaction<'a>> {
    let client: &mut tokio_postgres::Client = connection;
    let transaction = client.transaction().await.map_err(|e| DbError::new(name, e))?;
    set(&transaction, name, limits).await?;
    Ok(transaction)
}

/// Begins a transaction whose first statement goes out together with the limits: it costs no round trip.
pub async fn begin_with<'a>(
    connection: &'a mut Connection,
    name: &'static str,
    limits: Limits,
    first: &Statement,
    params: &[Param<'_>],
) -> DbResult<(Transaction<'a>, Row)> {
    let client: &mut tokio_postgres::Client = connection;
    let transaction = client.transaction().await.map_err(|e| DbError::new(name, e))?;
    // Pipelined: the server runs the limits first, and nothing after them should they fail.
    let ((), row) =
        futures_util::try_join!(set(&transaction, name, limits), first.one(transaction.client(), params))?;
    Ok((transaction, row))
}

async fn set(transaction: &Transaction<'_>, name: &'static str, limits: Limits) -> DbResult<()> {
    // client_connection_check_interval and the keepalives: a killed function sends no FIN.
    let mut settings = format!(
        "SET LOCAL application_name = 'onceload {name}'; \
         SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = '60s'; \
         SET LOCAL client_connection_check_interval = '10s'; \
         SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3",
        limits.statement.as_millis().max(1),
        limits.lock.as_millis().max(1),
    );
    if limits.bulk {
        settings.push_str(
            "; SET LOCAL work_mem = '128MB'; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0",
        );
    }
    transaction.batch_execute(&settings).await.map_err(|e| DbError::new(name, e))
}

/// Commits, naming what failed to.
pub async fn commit(transaction: Transaction<'_>, name: &'static str) -> DbResult<()> {
    transaction.commit().await.map_err(|e| DbError::new(name, e))
}
