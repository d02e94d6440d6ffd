//! Failures of a step. Their names are the `errorType`s that the state machines catch.

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
    /// Every kind.
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

    /// The name that the state machines catch.
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

/// The longest message of a step: Step Functions ends a cause at 32 KiB (AWS Step Functions Developer Guide, "Quotas"), and the
/// job, its event and every list of jobs repeat it.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// A step's failure: a stable kind, a message fit for an operator, the cause for the log.
#[derive(Debug)]
pub struct StepError {
    /// The kind, which decides what follows.
    pub kind: StepErrorKind,
    /// Fit for an operator.
    pub message: String,
    /// The cause, for the log.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of a step.
pub type StepResult<T> = Result<T, StepError>;

impl StepError {
    /// A failure without a cause.
    pub fn new(kind: StepErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A failure with its cause.
    pub fn with_source(
        kind: StepErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// The request can't be carried out as asked.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StepErrorKind::InvalidInput, message)
    }

    /// A defect.
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

/// The chain of causes below an error, in one line.
pub fn list_causes(error: &dyn StdError) -> String {
    let mut chain = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        chain.push(cause.to_string());
        next = cause.source();
    }
    chain.join(": ")
}
