//! A remark about one member of a request, and how long what we say may be.

use serde::Serialize;
use std::borrow::Cow;

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

/// The text, or its beginning and `...`, in at most so many bytes. Most of what we say repeats what we were sent.
pub fn shorten(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes {
        return text.into();
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub(3));
    format!("{}...", &text[..end]).into()
}
