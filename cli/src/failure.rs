//! A failed command: an exit code, a message for people, and the service's answer for scripts.

use serde_json::{Value, json};
use std::fmt;

/// The exit codes. `onceload --help` explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    ImportFailed = 1,
    Usage = 2,
    Conflict = 3,
    Denied = 4,
    Unavailable = 5,
    Interrupted = 130,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub exit: Exit,
    pub message: String,
    /// The service's answer.
    pub answer: Value,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), answer: Value::Null }
    }

    pub(crate) fn with(mut self, answer: Value) -> Self {
        self.answer = answer;
        self
    }

    /// The failure as scripts read it.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({ "exit_code": self.exit as u8, "message": self.message });
        if !self.answer.is_null() {
            error["answer"] = self.answer.clone();
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;
