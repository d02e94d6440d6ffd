//! A remark about one member of a request.

use serde::Serialize;

/// What is wrong with one member of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// A JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong, for a person.
    pub detail: String,
}

impl Remark {
    /// A remark about the member at this pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}
