//! Transactions with a name and limits. A dead function's backend must let go of what it holds, so every
//! transaction bounds its statements, its waits for locks and its idle time.

#![expect(clippy::disallowed_methods, reason = "BEGIN, its limits and what ends it return no rows")]

use super::connection::{Connection, Link, Session};
use super::error::{DbError, DbResult};
use super::statement::{Binds, Statement};
use std::time::Duration;
use tokio_postgres::Row;

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

/// How much longer than the server's own bound we wait for its answer.
const GRACE: Duration = Duration::from_secs(3);

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

/// An open transaction, or a savepoint in one. Dropped without an end, it is rolled back before its connection is used
/// again.
pub struct Transaction<'a> {
    connection: &'a Connection,
    name: &'static str,
    savepoint: Option<&'static str>,
    /// Its longest wait for a lock.
    lock: Duration,
    /// That of the transaction around it.
    lock_outside: Duration,
    patience: Duration,
    ended: bool,
}

impl Connection {
    /// Begins a transaction; `name` shows in `pg_stat_activity` and in errors.
    pub async fn begin(&mut self, name: &'static str, limits: Limits) -> DbResult<Transaction<'_>> {
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
        let connection: &Connection = self;
        let link = connection.link();
        let client = link.client()?;
        let transaction = Transaction {
            connection,
            name,
            savepoint: None,
            lock: limits.lock,
            lock_outside: limits.lock,
            patience: limits.statement + GRACE,
            ended: false,
        };
        link.ask(name, client.batch_execute(&sql)).await?;
        Ok(transaction)
    }
}

impl Transaction<'_> {
    /// Begins a savepoint; `name` is an identifier.
    pub async fn savepoint(&mut self, name: &'static str) -> DbResult<Transaction<'_>> {
        self.savepoint_with(name, self.lock).await
    }

    /// Begins a savepoint in which statements wait for a lock no longer than this.
    pub async fn savepoint_with(&mut self, name: &'static str, lock: Duration) -> DbResult<Transaction<'_>> {
        let mut sql = format!("SAVEPOINT {name}");
        if lock != self.lock {
            sql.push_str(&set_lock_timeout(lock));
        }
        self.run(self.name, &sql).await?;
        Ok(Transaction {
            connection: self.connection,
            name: self.name,
            savepoint: Some(name),
            lock,
            lock_outside: self.lock,
            patience: self.patience,
            ended: false,
        })
    }

    /// Commits, or releases the savepoint.
    pub async fn commit(mut self) -> DbResult<()> {
        let mut sql = self.savepoint.map_or_else(|| "COMMIT".to_owned(), |name| format!("RELEASE {name}"));
        if self.lock != self.lock_outside {
            // What a savepoint sets outlives its release, but not its rollback.
            sql.push_str(&set_lock_timeout(self.lock_outside));
        }
        self.end(&sql).await
    }

    /// Rolls back, to the savepoint if it is one.
    pub async fn rollback(mut self) -> DbResult<()> {
        let sql = self
            .savepoint
            .map_or_else(|| "ROLLBACK".to_owned(), |name| format!("ROLLBACK TO {name}; RELEASE {name}"));
        self.end(&sql).await
    }

    /// Ends the transaction by the outcome of its work: commits what has succeeded, and rolls back what has failed.
    pub async fn settle<T, E: From<DbError>>(self, outcome: Result<T, E>) -> Result<T, E> {
        match outcome {
            Ok(done) => self.commit().await.map(|()| done).map_err(E::from),
            Err(error) => {
                // If this fails, the connection is closed, and the server rolls back.
                self.rollback().await.ok();
                Err(error)
            }
        }
    }

    /// Runs a statement that a constraint may refuse. If it is refused, the transaction goes on without it.
    pub async fn run_refusable(&mut self, statement: &Statement, binds: &Binds<'_>) -> DbResult<Option<Row>> {
        let savepoint = self.savepoint("refusable").await?;
        match statement.opt(&savepoint, binds).await {
            Ok(row) => savepoint.commit().await.map(|()| row),
            Err(error) => savepoint.rollback().await.and(Err(error)),
        }
    }

    /// Tells the server that the transaction is not abandoned, so that it is not ended for being idle.
    pub async fn keep_alive(&self) -> DbResult<()> {
        self.run(self.name, "-- transaction.keep_alive").await
    }

    async fn end(&mut self, sql: &str) -> DbResult<()> {
        // Sent or not, this is the end: an answer that does not come breaks the connection off.
        let ended = self.run(self.name, sql).await;
        self.ended = ended.is_ok();
        ended
    }

    /// Runs statements without parameters and results, such as SAVEPOINT or CREATE TABLE.
    pub(super) async fn run(&self, operation: &'static str, sql: &str) -> DbResult<()> {
        let link = self.link();
        link.ask(operation, link.client()?.batch_execute(sql)).await
    }
}

fn set_lock_timeout(lock: Duration) -> String {
    format!("; SET LOCAL lock_timeout = {}", lock.as_millis().max(1))
}

impl Session for Transaction<'_> {
    fn link(&self) -> Link<'_> {
        Link::in_transaction(self.connection, self.patience)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.abandon();
        }
    }
}
