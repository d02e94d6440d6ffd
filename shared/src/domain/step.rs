//! Why a step of the state machine stopped. The names are the `errorType`s that the ASL catches.

use std::error::Error as StdError;
use std::fmt;

/// Stable names; `statemachine/import.asl.json` and the docs use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepErrorKind {
    /// Worth trying again: lost connection, lock time-out, throttling.
    Transient,
    /// The request can't be carried out as asked.
    InvalidInput,
    /// One or more files can't be loaded.
    FileRejected,
    /// Staging holds fewer rows than were committed: the server restarted. Load again.
    StagingLost,
    /// Production moved since the marking. Mark again.
    CountMismatch,
    /// The work doesn't fit into the time a function has.
    TimeBudgetExceeded,
    /// The same source, or the same merchant, is being imported by another job.
    ImportInProgress,
    /// Another attempt or job owns this work now; nothing was written.
    Superseded,
    /// Somebody asked to stop.
    Cancelled,
    /// A defect: the message is logged, the answer is not to try again for ever.
    Internal,
}

impl StepErrorKind {
    pub const ALL: [Self; 10] = [
        Self::Transient,
        Self::InvalidInput,
        Self::FileRejected,
        Self::StagingLost,
        Self::CountMismatch,
        Self::TimeBudgetExceeded,
        Self::ImportInProgress,
        Self::Superseded,
        Self::Cancelled,
        Self::Internal,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::InvalidInput => "InvalidInput",
            Self::FileRejected => "FileRejected",
            Self::StagingLost => "StagingLost",
            Self::CountMismatch => "CountMismatch",
            Self::TimeBudgetExceeded => "TimeBudgetExceeded",
            Self::ImportInProgress => "ImportInProgress",
            Self::Superseded => "Superseded",
            Self::Cancelled => "Cancelled",
            Self::Internal => "Internal",
        }
    }
}

/// A step's failure: a stable kind, a message fit for an operator, the cause for the log.
#[derive(Debug)]
pub struct StepError {
    pub kind: StepErrorKind,
    pub message: String,
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

pub type StepResult<T> = Result<T, StepError>;

impl StepError {
    pub fn new(kind: StepErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub fn with_source(
        kind: StepErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StepErrorKind::InvalidInput, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StepErrorKind::Internal, message)
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for StepError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}
