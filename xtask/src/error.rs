//! The one error of the developer's commands: a sentence for the person at the keyboard, the cause behind it.

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SIGINT or SIGTERM arrived. What was started has been stopped on the way out.
    #[error("interrupted")]
    Interrupted,
    /// Tests or checks failed, and have said so.
    #[error("failed: {0}")]
    TestsFailed(String),
    /// Something only a person can put right; the sentence says how.
    #[error("{0}")]
    Advice(String),
    /// A program that we ran said no.
    #[error("{program} failed with {status}")]
    Program { program: String, status: std::process::ExitStatus },
    /// An operation failed; `source` says why.
    #[error("{doing}")]
    Failed { doing: String, source: Box<dyn std::error::Error + Send + Sync> },
}

impl Error {
    /// An error whose sentence is all there is to say.
    pub fn advice(sentence: impl Into<String>) -> Self {
        Self::Advice(sentence.into())
    }
}

/// Says what was being done when an operation failed.
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
