//! Transactions with a name and limits. A dead function's backend must let go of what it holds, so every
//! transaction bounds its statements, its waits for locks and its idle time.

use super::error::{DbError, DbResult};
use super::pool::{Connection, client};
use super::rows::{Param, Statement};
use futures_util::FutureExt;
use std::ops::Deref;
use std::time::Duration;
use tokio_postgres::{Client, Error, Row};

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

/// An open transaction, or a savepoint in one. Dropped without `commit`, it is rolled back.
///
/// Unlike the driver's, it goes out with what follows or precedes it: BEGIN, limits and first statement in one round
/// trip, last statement and COMMIT in one.
pub struct Transaction<'a> {
    client: &'a Client,
    savepoint: Option<&'static str>,
    open: bool,
}

impl<'a> Transaction<'a> {
    pub fn client(&self) -> &'a Client {
        self.client
    }

    /// A savepoint; `name` is an identifier.
    pub async fn savepoint(&mut self, name: &'static str) -> Result<Transaction<'_>, Error> {
        let savepoint = Transaction { client: self.client, savepoint: Some(name), open: true };
        self.client.batch_execute(&format!("SAVEPOINT {name}")).await?;
        Ok(savepoint)
    }

    /// Commits, or releases the savepoint.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.end().await
    }

    /// What dropping it does, with its outcome.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.open = false;
        self.client.batch_execute(&self.undo()).await
    }

    async fn end(&mut self) -> Result<(), Error> {
        self.open = false;
        match self.savepoint {
            None => self.client.batch_execute("COMMIT").await,
            Some(name) => self.client.batch_execute(&format!("RELEASE {name}")).await,
        }
    }

    fn undo(&self) -> String {
        self.savepoint.map_or_else(|| "ROLLBACK".to_owned(), |name| format!("ROLLBACK TO {name}"))
    }
}

impl Deref for Transaction<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // Polled once, it is sent; whatever the connection is used for next comes after it.
            self.client.batch_execute(&self.undo()).now_or_never();
        }
    }
}

/// Begins a transaction.
pub async fn begin<'a>(
    connection: &'a mut Connection,
    name: &'static str,
    limits: Limits,
) -> DbResult<Transaction<'a>> {
    let transaction = Transaction { client: client(connection), savepoint: None, open: true };
    open(transaction.client, name, limits).await?;
    Ok(transaction)
}

/// Begins a transaction whose first statement goes out together with it: it costs no round trip.
///
/// Should the BEGIN fail, the server still runs the statement, outside of any transaction: it must refuse to.
pub async fn begin_with<'a>(
    connection: &'a mut Connection,
    name: &'static str,
    limits: Limits,
    first: &Statement,
    params: &[Param<'_>],
) -> DbResult<(Transaction<'a>, Row)> {
    let transaction = Transaction { client: client(connection), savepoint: None, open: true };
    let client = transaction.client;
    let ((), row) = futures_util::try_join!(open(client, name, limits), first.one(client, params))?;
    Ok((transaction, row))
}

async fn open(client: &Client, name: &'static str, limits: Limits) -> DbResult<()> {
    // client_connection_check_interval and the keepalives: a killed function sends no FIN.
    let mut sql = format!(
        "BEGIN; SET LOCAL application_name = 'onceload {name}'; \
         SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = '60s'; \
         SET LOCAL client_connection_check_interval = '10s'; \
         SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3",
        limits.statement.as_millis().max(1),
        limits.lock.as_millis().max(1),
    );
    if limits.bulk {
        sql.push_str(
            "; SET LOCAL work_mem = '128MB'; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0",
        );
    }
    client.batch_execute(&sql).await.map_err(|e| DbError::new(name, e))
}

/// Commits, naming what failed to.
pub async fn commit(transaction: Transaction<'_>, name: &'static str) -> DbResult<()> {
    transaction.commit().await.map_err(|e| DbError::new(name, e))
}

/// Commits together with a last statement, in one round trip. What fails is that statement's error: the COMMIT after it
/// is then a rollback. So it must fail where it finds nothing to do.
pub async fn commit_with(
    mut transaction: Transaction<'_>,
    name: &'static str,
    last: &Statement,
    params: &[Param<'_>],
) -> DbResult<Row> {
    let client = transaction.client;
    let committed = transaction.end().map(|ended| ended.map_err(|e| DbError::new(name, e)));
    let (row, ()) = futures_util::try_join!(last.one(client, params), committed)?;
    Ok(row)
}
