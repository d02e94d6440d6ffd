//! Why a command did not succeed: an exit code, words for a person, and the service's own for a script.

use serde_json::{Value, json};
use std::fmt;

/// What the shell sees; `onceload --help` explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    ImportFailed = 1,
    Usage = 2,
    Conflict = 3,
    Denied = 4,
    Unavailable = 5,
    Interrupted = 130,
}

#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    /// What the service answered.
    pub answer: Value,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), answer: Value::Null }
    }

    pub fn with(mut self, answer: Value) -> Self {
        self.answer = answer;
        self
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
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

pub type Outcome<T = ()> = Result<T, Failure>;
