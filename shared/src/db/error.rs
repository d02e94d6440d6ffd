//! What a database operation can fail with, and what follows from it.

use crate::domain::step::{StepError, StepErrorKind};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// The result of a database operation.
pub type DbResult<T> = Result<T, DbError>;

/// A failed operation: its name, which may be shown, and its cause, which is only logged.
#[derive(Debug)]
pub struct DbError {
    /// The name of the statement or transaction.
    pub operation: &'static str,
    /// Why it failed.
    pub cause: Cause,
}

/// Why an operation failed.
#[derive(Debug)]
pub enum Cause {
    /// PostgreSQL or its driver refused.
    Postgres(tokio_postgres::Error),
    /// No connection could be had, or the server stopped answering on it.
    NoConnection(Box<dyn StdError + Send + Sync>),
    /// The time that the work was given ran out.
    OutOfTime(Duration),
    /// The database answered what the code does not expect.
    Defect(String),
}

impl DbError {
    /// PostgreSQL or its driver refused.
    pub fn postgres(operation: &'static str, error: tokio_postgres::Error) -> Self {
        Self { operation, cause: Cause::Postgres(error) }
    }

    /// No connection could be had.
    pub fn no_connection(operation: &'static str, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { operation, cause: Cause::NoConnection(error.into()) }
    }

    /// The server has not answered for that long.
    pub fn no_answer(operation: &'static str, waited: Duration) -> Self {
        Self::no_connection(operation, format!("no answer from the server within {waited:?}"))
    }

    /// The time that the work was given ran out.
    pub fn out_of_time(operation: &'static str, given: Duration) -> Self {
        Self { operation, cause: Cause::OutOfTime(given) }
    }

    /// The database answered what the code does not expect.
    pub fn defect(operation: &'static str, what: impl Into<String>) -> Self {
        Self { operation, cause: Cause::Defect(what.into()) }
    }

    /// PostgreSQL's error code, if the server sent one.
    pub fn code(&self) -> Option<&SqlState> {
        match &self.cause {
            Cause::Postgres(error) => error.code(),
            _ => None,
        }
    }

    /// The constraint that refused the row. Names of constraints are an interface: see `migrations/`.
    pub fn constraint(&self) -> Option<&str> {
        match &self.cause {
            Cause::Postgres(error) => error.as_db_error().and_then(|error| error.constraint()),
            _ => None,
        }
    }

    /// What the server said. It may hold values: not for an answer to a user.
    pub fn message(&self) -> Option<&str> {
        match &self.cause {
            Cause::Postgres(error) => error.as_db_error().map(|error| error.message()),
            _ => None,
        }
    }

    /// A unique index refused the row.
    pub fn is_unique_violation(&self) -> bool {
        self.code() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    /// The data was refused, not the connection or the statement: classes 22 (data exception) and 23 (integrity
    /// constraint violation) of PostgreSQL's appendix A.
    pub fn is_refused_data(&self) -> bool {
        self.code().is_some_and(|code| matches!(&code.code()[..2], "22" | "23"))
    }

    /// A per-job table that should exist doesn't.
    pub fn is_missing_table(&self) -> bool {
        self.code() == Some(&SqlState::UNDEFINED_TABLE)
    }

    /// The operation ran out of time: `statement_timeout`, or the time that it was given.
    pub fn is_timeout(&self) -> bool {
        matches!(self.cause, Cause::OutOfTime(_)) || self.code() == Some(&SqlState::QUERY_CANCELED)
    }

    /// `lock_timeout` ran out: somebody else holds what we want.
    pub fn is_lock_timeout(&self) -> bool {
        self.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// The operation may succeed when it is repeated: the connection was at fault, or somebody else held a lock.
    pub fn is_transient(&self) -> bool {
        match &self.cause {
            Cause::NoConnection(_) => true,
            Cause::Postgres(error) => is_transient(error),
            Cause::OutOfTime(_) | Cause::Defect(_) => false,
        }
    }

    /// The database as a whole is at fault: away, read-only or out of resources. Locks and deadlocks are not.
    pub fn is_outage(&self) -> bool {
        let in_the_way = |code: &SqlState| &code.code()[..2] == "40" || *code == SqlState::LOCK_NOT_AVAILABLE;
        self.is_transient() && !self.code().is_some_and(in_the_way)
    }

    /// Describes the failure to an operator: what happened, and the statement's name, which the log has, too.
    pub fn describe(&self) -> String {
        let code = self.code().map_or("", SqlState::code);
        let what = match code {
            "55P03" => "another session holds a lock in the database",
            "57014" => "the database was too slow",
            READ_ONLY => "the database is read-only, as after a fail-over",
            _ if code.starts_with("40") => "another transaction was in the way",
            _ if code.starts_with("53") => "the database is out of connections, memory or disk space",
            _ if self.is_transient() => "the database does not answer",
            _ if self.is_timeout() => "the database was too slow",
            "" => "the database answered what the code does not expect; the log has the cause",
            _ => return format!("the database refused {} ({code}); the log has the cause", self.operation),
        };
        format!("{what} ({})", self.operation)
    }

    /// The database's part in the failure of a step.
    pub fn of_step(error: &StepError) -> Option<&Self> {
        error.source.as_ref()?.downcast_ref()
    }

    /// The connection can't be used any more. One to a read-only server could, but the next one leads to the new primary.
    pub(super) fn ends_connection(&self) -> bool {
        match &self.cause {
            Cause::NoConnection(_) => true,
            Cause::Postgres(error) => match error.code().map(SqlState::code) {
                Some(code) => {
                    code.starts_with("08") || code.starts_with("57P") || matches!(code, "25P03" | READ_ONLY)
                }
                None => is_broken_connection(error),
            },
            Cause::OutOfTime(_) | Cause::Defect(_) => false,
        }
    }
}

/// read_only_sql_transaction: none of our transactions is, so the server is a standby, or was told to be read-only.
const READ_ONLY: &str = "25006";

/// PostgreSQL's appendix A: class 08 is the connection, 40 a rollback (deadlock, serialization), 53 resources, 57P a shutdown;
/// 55P03 is a lock, 25P03 an idle transaction that the server has ended.
pub(super) fn is_transient(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code().map(SqlState::code) else { return is_broken_connection(error) };
    matches!(&code[..2], "08" | "40" | "53")
        || code.starts_with("57P")
        || matches!(code, "55P03" | "25P03" | READ_ONLY)
}

/// The driver's errors have no public kind. A connection that broke is closed, or has an I/O error as its source.
fn is_broken_connection(error: &tokio_postgres::Error) -> bool {
    let source = error.source();
    error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>())
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.operation)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(error) => error.fmt(f),
            Self::NoConnection(error) => write!(f, "no connection: {error}"),
            Self::OutOfTime(given) => write!(f, "not done within {given:?}"),
            Self::Defect(what) => f.write_str(what),
        }
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Postgres(error) => error.source(),
            Self::NoConnection(error) => error.source(),
            Self::OutOfTime(_) | Self::Defect(_) => None,
        }
    }
}

impl StdError for DbError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.cause)
    }
}

impl From<DbError> for StepError {
    fn from(error: DbError) -> Self {
        let kind = if error.is_transient() || error.is_timeout() {
            StepErrorKind::Transient
        } else {
            StepErrorKind::Internal
        };
        StepError::with_source(kind, error.describe(), error)
    }
}

/// What to do when a step of an import needs more time than it has.
pub const SPLIT: &str = "split the import into smaller ones";
/// What to do when a task after an import needs more time than it has.
pub const ASK_AGAIN: &str = "ask again when the database is quiet";

/// Turns a timeout into `TimeBudgetExceeded`, for work whose bound is the time that the function has left: the same try
/// would have no more. `advice` says what to do instead.
pub fn within_budget<T>(what: &str, advice: &str, result: DbResult<T>) -> Result<T, StepError> {
    result.map_err(|error| {
        if error.is_timeout() {
            let message = format!("{what} takes longer than the function may run; {advice}");
            StepError::with_source(StepErrorKind::TimeBudgetExceeded, message, error)
        } else {
            error.into()
        }
    })
}
