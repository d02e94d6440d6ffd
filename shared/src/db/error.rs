//! What a statement can fail with, and what follows from it.

use crate::domain::step::{StepError, StepErrorKind};
use std::fmt;
use tokio_postgres::error::SqlState;

pub type DbResult<T> = Result<T, DbError>;

/// A failed statement, named.
#[derive(Debug)]
pub struct DbError {
    pub statement: &'static str,
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl DbError {
    pub fn new(statement: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { statement, source: source.into() }
    }

    fn postgres(&self) -> Option<&tokio_postgres::Error> {
        self.source.downcast_ref()
    }

    pub fn code(&self) -> Option<&SqlState> {
        self.postgres().and_then(|e| e.code())
    }

    /// The constraint that refused the row. Names of constraints are an interface: see `migrations/`.
    pub fn constraint(&self) -> Option<&str> {
        self.postgres().and_then(|e| e.as_db_error()).and_then(|e| e.constraint())
    }

    pub fn is_unique_violation(&self) -> bool {
        self.code() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    /// The data was refused, not the connection or the statement: classes 22 (data exception) and 23 (integrity
    /// constraint violation) of PostgreSQL's appendix A.
    pub fn is_refused_data(&self) -> bool {
        self.code().is_some_and(|code| matches!(&code.code()[..2], "22" | "23"))
    }

    /// A per-job table that should be there isn't.
    pub fn is_missing_table(&self) -> bool {
        self.code() == Some(&SqlState::UNDEFINED_TABLE)
    }

    /// `statement_timeout` ran out (or somebody cancelled the statement).
    pub fn is_timeout(&self) -> bool {
        self.code() == Some(&SqlState::QUERY_CANCELED)
    }

    /// `lock_timeout` ran out: somebody else holds what we want.
    pub fn is_lock_timeout(&self) -> bool {
        self.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Worth trying again: the connection, not the statement, was at fault, or somebody else held a lock.
    /// Classes of PostgreSQL's appendix A.
    pub fn is_transient(&self) -> bool {
        match self.code() {
            Some(code) => {
                let class = &code.code()[..2];
                // 08 connection, 40 rollback (deadlock, serialization), 53 resources, 55P03 lock, 57P0x shutdown
                matches!(class, "08" | "40" | "53")
                    || matches!(code.code(), "55P03" | "57P01" | "57P02" | "57P03" | "25P03")
            }
            // No SQLSTATE: the connection broke, or none could be had.
            None => self.postgres().is_none_or(|e| e.is_closed() || e.as_db_error().is_none()),
        }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {} failed", self.statement)
    }
}

impl std::error::Error for DbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

impl From<DbError> for StepError {
    fn from(error: DbError) -> Self {
        let kind = if error.is_transient() || error.is_timeout() {
            StepErrorKind::Transient
        } else {
            StepErrorKind::Internal
        };
        // The statement's name may be shown, the server's words only logged.
        StepError::with_source(kind, error.to_string(), error)
    }
}

/// A statement whose bound is the time that a function has left: when it runs out, another try would have no more.
pub fn in_time<T>(result: DbResult<T>) -> Result<T, StepError> {
    result.map_err(|error| {
        if error.is_timeout() {
            let message = "it takes longer than the function may run";
            StepError::with_source(StepErrorKind::TimeBudgetExceeded, message, error)
        } else {
            error.into()
        }
    })
}
