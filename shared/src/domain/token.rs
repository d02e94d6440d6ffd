//! The order of task tokens. A waiting task that is repeated brings another token for the same wait, while its first call may
//! still be under way.

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// Which call of a waiting state brought a token, by Step Functions' context object ("State" in "Accessing execution data from
/// the Context object", AWS Step Functions Developer Guide).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenOrder {
    /// `State.EnteredTime`.
    pub entered_at: DateTime<Utc>,
    /// `State.RetryCount`: how often the task was repeated by then.
    pub retry_count: i32,
}

/// A token and its order. An execution of a definition that told no order has none: its tokens are older than any other.
#[derive(Debug, Clone, Copy)]
pub struct TaskToken<'a> {
    /// The token.
    pub token: &'a str,
    /// Its order.
    pub order: Option<TokenOrder>,
}

impl TaskToken<'_> {
    /// When the waiting state was entered, and how often its task was repeated, as columns.
    pub fn order_columns(&self) -> (Option<DateTime<Utc>>, Option<i32>) {
        (self.order.map(|order| order.entered_at), self.order.map(|order| order.retry_count))
    }
}
