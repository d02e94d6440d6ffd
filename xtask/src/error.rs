//! The error of the developer's commands: a message for the developer, and its cause.

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SIGINT or SIGTERM arrived. The command has stopped what it started.
    #[error("interrupted")]
    Interrupted,
    /// Tests or checks failed and have printed their failures.
    #[error("failed: {0}")]
    TestsFailed(String),
    /// A problem that the developer has to solve; the message says how.
    #[error("{0}")]
    Advice(String),
    /// A program that we ran failed.
    #[error("{program} failed with {status}")]
    Program { program: String, status: std::process::ExitStatus },
    /// A function that we invoked failed. `kind` is its `errorType`.
    #[error("{function} failed: {message}")]
    Function { function: String, kind: String, message: String },
    /// An operation failed because of `source`.
    #[error("{doing}")]
    Failed { doing: String, source: Box<dyn std::error::Error + Send + Sync> },
}

impl Error {
    /// An error with a message and no further cause.
    pub fn advice(message: impl Into<String>) -> Self {
        Self::Advice(message.into())
    }
}

/// Adds to an error which operation failed.
///
/// `fs::read(path).context(|| format!("read {}", path.display()))?`
pub trait Context<T> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::Failed {
            doing: format!("could not {}", doing().into()),
            source: source.into(),
        })
    }
}
