//! One connection to the server, and the rules that keep a transaction-mode pooler from mixing up answers.
//!
//! Such a pooler hands the server to another client as soon as a transaction ends. The answer to a statement that was sent
//! behind that end is lost, and its sender waits forever (PgBouncer before 1.21). Therefore:
//! - outside a transaction nothing is sent before the answer to the last statement has come;
//! - a transaction that was dropped is rolled back, and the rollback awaited, before anything else is sent;
//! - an answer that nobody waits for any more closes the connection;
//! - every wait for the server has a bound.

#![expect(clippy::disallowed_methods, reason = "ROLLBACK returns no rows")]

use super::error::{DbError, DbResult};
use deadpool_postgres::Object;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::{Client, Error};

/// What statements run on: a connection, each statement a transaction of its own, or an open transaction.
pub trait Session: Sync {
    /// How to reach the server.
    fn link(&self) -> Link<'_>;
}

/// The way to the server: a connection, whether a transaction is open on it, and how long to wait for an answer.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    connection: &'a Connection,
    in_transaction: bool,
    patience: Duration,
}

/// A connection that goes back to the pool when it is dropped, unless it is in a state that nobody else should get.
pub struct Connection {
    /// Empty only while it is dropped.
    object: Option<Object>,
    patience: Duration,
    /// Statements whose answers are awaited.
    in_flight: AtomicU32,
    /// A transaction or savepoint was dropped without an end.
    abandoned: AtomicBool,
    /// It can't be used any more.
    broken: AtomicBool,
}

impl Connection {
    /// `patience`: how long a statement outside a transaction may go without an answer.
    pub(super) fn new(object: Object, patience: Duration) -> Self {
        Self {
            object: Some(object),
            patience,
            in_flight: AtomicU32::new(0),
            abandoned: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }

    /// The same connection for statements that may take longer, each a transaction of its own.
    pub fn with_patience(&self, patience: Duration) -> Patient<'_> {
        Patient { connection: self, patience }
    }

    /// Marks that a transaction was dropped without an end.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Marks that it can't be used any more.
    fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    fn client(&self) -> DbResult<&Client> {
        match &self.object {
            Some(object) if !self.broken.load(Ordering::Relaxed) => Ok(object),
            _ => Err(DbError::no_connection("connection.use", "the connection was given up")),
        }
    }

    /// The plain client, for work that needs a session of its own. The connection is not used again.
    pub(super) fn take_over(&mut self) -> DbResult<&mut Client> {
        self.break_off();
        match &mut self.object {
            Some(object) => Ok(object),
            None => Err(DbError::no_connection("connection.use", "the connection was given up")),
        }
    }

    /// Waits for an answer, but not for ever. An error of the connection, and an answer that is no longer awaited,
    /// break it off.
    async fn wait<T>(
        &self,
        operation: &'static str,
        patience: Duration,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> DbResult<T> {
        let flight = Flight::begin(self);
        let Ok(answer) = timeout(patience, answer).await else {
            return Err(DbError::no_answer(operation, patience));
        };
        flight.land();
        answer.map_err(|error| {
            let error = DbError::postgres(operation, error);
            if error.ends_connection() {
                self.break_off();
                // The idle ones have met the same end, or lead to the same server that is read-only.
                if let Some(pool) = self.object.as_ref().and_then(Object::pool) {
                    pool.retain(|_, _| false);
                }
            }
            error
        })
    }

    /// Rolls back a transaction that was dropped.
    async fn settle(&self) -> DbResult<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            let client = self.client()?;
            self.wait("connection.settle", self.patience, client.batch_execute("ROLLBACK")).await?;
            self.abandoned.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Session for Connection {
    fn link(&self) -> Link<'_> {
        Link { connection: self, in_transaction: false, patience: self.patience }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let in_flight = self.in_flight.load(Ordering::Relaxed) > 0;
        let unusable =
            in_flight || self.abandoned.load(Ordering::Relaxed) || self.broken.load(Ordering::Relaxed);
        if let (true, Some(object)) = (unusable, self.object.take()) {
            // Taken out of the pool, its socket is closed; the server rolls back what was open.
            drop(Object::take(object));
        }
    }
}

/// A connection for statements that take long.
pub struct Patient<'a> {
    connection: &'a Connection,
    patience: Duration,
}

impl Session for Patient<'_> {
    fn link(&self) -> Link<'_> {
        Link { connection: self.connection, in_transaction: false, patience: self.patience }
    }
}

impl<'a> Link<'a> {
    /// A way to the server inside the transaction that is open on this connection.
    pub(super) fn in_transaction(connection: &'a Connection, patience: Duration) -> Self {
        Self { connection, in_transaction: true, patience }
    }

    /// The client; what it sends must go through `ask` or `open_copy`.
    pub(super) fn client(&self) -> DbResult<&'a Client> {
        self.connection.client()
    }

    /// Sends what `answer` sends when it is first polled, and waits for the answer.
    pub(super) async fn ask<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> DbResult<T> {
        self.check(operation).await?;
        self.connection.wait(operation, self.patience, answer).await
    }

    /// Waits for a part of an answer that comes in many, such as COPY's.
    pub(super) async fn wait_for_part<T>(
        &self,
        operation: &'static str,
        part: impl Future<Output = T>,
    ) -> DbResult<T> {
        timeout(self.patience, part).await.map_err(|_| DbError::no_answer(operation, self.patience))
    }

    /// Marks that an answer is on its way until the flight lands.
    pub(super) fn begin_flight(&self) -> Flight<'a> {
        Flight::begin(self.connection)
    }

    /// Whether something may be sent now.
    async fn check(&self, operation: &'static str) -> DbResult<()> {
        let connection = self.connection;
        if self.in_transaction {
            return match connection.abandoned.load(Ordering::Relaxed) {
                true => Err(DbError::defect(operation, "a savepoint of this transaction was dropped")),
                false => Ok(()),
            };
        }
        if connection.in_flight.load(Ordering::Relaxed) > 0 {
            return Err(DbError::defect(
                operation,
                "the last statement on this connection has no answer yet",
            ));
        }
        connection.settle().await
    }
}

/// An answer that is on its way. Dropped before it has landed, its connection is broken off.
pub(super) struct Flight<'a> {
    connection: &'a Connection,
    landed: bool,
}

impl<'a> Flight<'a> {
    fn begin(connection: &'a Connection) -> Self {
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { connection, landed: false }
    }

    /// The answer has come.
    pub(super) fn land(mut self) {
        self.landed = true;
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.landed {
            self.connection.break_off();
        }
    }
}
