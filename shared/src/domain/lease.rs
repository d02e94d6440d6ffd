//! The lease of a user or merchant: who imports, and after how long in silence an import counts as stuck.

use super::ids::JobId;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// An import that has been silent for this long is stuck and may be superseded.
pub const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);

/// The import that holds what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// Its job.
    pub job: Option<JobId>,
    /// When it began to work; now, if it has no start yet.
    pub started_at: DateTime<Utc>,
    /// How long it has worked.
    pub elapsed: Duration,
    /// How long it may still be silent before it is stuck.
    pub stuck_in: Duration,
    /// Its start was not recorded yet.
    pub no_start: bool,
    /// It does not work: it has the same files, and waits for a person.
    pub waits_for_approval: bool,
}

impl Holder {
    /// How long an import that has been silent for `silent` may still be silent before it is stuck.
    pub fn stuck_in(silent: Duration) -> Duration {
        STUCK_AFTER.saturating_sub(silent)
    }
}
