//! What stops the insert, and what is recorded about it once its transaction is rolled back.

use shared::db::jobs::{self, Job};
use shared::db::{Database, DbError, SPLIT, within_budget};
use shared::domain::step::StepError;
use std::convert::Infallible;

/// Why the transaction is rolled back.
pub(crate) enum Stop {
    /// Staging is not what was marked; this was found.
    StagingLost(String),
    /// Production is not what was approved; this was found.
    ProductionMoved(String),
    /// Anything else.
    Error(StepError),
}

impl Stop {
    /// Records what the import goes back to, in a transaction of its own: the one that was rolled back would take the
    /// record with it. Returns the error that the state machine catches.
    pub(crate) async fn record(self, db: &Database, job: &Job) -> StepError {
        match self {
            Self::StagingLost(found) => jobs::lose_staging(db, job.id, job.attempt, &found).await,
            Self::ProductionMoved(found) => jobs::mark_again(db, job.id, job.attempt, &found).await,
            Self::Error(error) => error,
        }
    }
}

impl From<StepError> for Stop {
    fn from(error: StepError) -> Self {
        Self::Error(error)
    }
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        if error.is_missing_table() {
            return Self::StagingLost("a table is gone".into());
        }
        let Err(error) = within_budget::<Infallible>("the insert", SPLIT, Err(error));
        Self::Error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::domain::step::StepErrorKind;
    use std::time::Duration;

    fn kind(error: DbError) -> Option<StepErrorKind> {
        match Stop::from(error) {
            Stop::Error(error) => Some(error.kind),
            Stop::StagingLost(_) | Stop::ProductionMoved(_) => None,
        }
    }

    #[test]
    fn an_insert_that_runs_out_of_time_is_not_tried_again() {
        let second = Duration::from_secs(1);
        assert_eq!(
            kind(DbError::out_of_time("staging.insert", second)),
            Some(StepErrorKind::TimeBudgetExceeded)
        );
        assert_eq!(kind(DbError::no_answer("staging.insert", second)), Some(StepErrorKind::Transient));
        assert_eq!(kind(DbError::defect("staging.insert", "two rows")), Some(StepErrorKind::Internal));
    }
}
