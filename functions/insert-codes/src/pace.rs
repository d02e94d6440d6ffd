//! Stops an insert early that can't finish in time: one that is aborted after 14 minutes leaves 14 minutes of dead rows.

use shared::domain::pace::too_slow;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use std::time::{Duration, Instant};

/// When the insert began, and how long it may take.
pub(crate) struct Pace {
    started: Instant,
    time_left: Duration,
}

impl Pace {
    pub(crate) fn start(time_left: Duration) -> Self {
        Self { started: Instant::now(), time_left }
    }

    /// Fails if, at the pace so far, `all` codes take longer than the time that the function had left.
    pub(crate) fn check(&self, done: i64, all: i64) -> StepResult<()> {
        let Some(rate) = too_slow(self.started.elapsed(), self.time_left, done, all) else {
            return Ok(());
        };
        let message = format!(
            "inserting {all} codes at {rate:.0} rows/s takes longer than the function may run; \
             split the import into smaller ones"
        );
        Err(StepError::new(StepErrorKind::TimeBudgetExceeded, message))
    }
}
