//! Marks one chunk in one transaction. It may run again, even beside an earlier run that is still alive: the lock on the
//! chunk's row makes them take turns, and the second finds it marked.

use crate::compare;
use shared::db::chunks::{self, ChunkState};
use shared::db::jobs::{self, Job};
use shared::db::progress::Watch;
use shared::db::staging::mark::{self as staging, Marked};
use shared::db::{Database, DbError, DbResult, Limits, SPLIT, Transaction, within_budget};
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepResult};
use std::time::Duration;

/// Why the transaction is rolled back.
enum Stop {
    /// Staging is not what was committed; this was found.
    StagingLost(String),
    Error(StepError),
}

impl From<StepError> for Stop {
    fn from(error: StepError) -> Self {
        Self::Error(error)
    }
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        Self::Error(error.into())
    }
}

/// Marks the internal and the existing duplicates of one chunk.
pub(crate) async fn mark(
    db: &Database,
    job_id: JobId,
    attempt: i32,
    number: i32,
    time_left: Duration,
) -> StepResult<Marked> {
    let mut connection = db.connection().await?;
    let job = jobs::expect(&connection, job_id, attempt, Status::Checking).await?;
    let _watch = Watch::of_step(db, &job, None);
    let tx = connection.begin("mark.chunk", Limits::bulk(time_left)).await?;
    let outcome = mark_under_lock(&tx, &job, number).await;
    let settled = tx.settle(outcome).await;
    drop(connection);
    match settled {
        Ok(marked) => Ok(marked),
        // Recorded in the transaction that rolls back, the loss would never be known.
        Err(Stop::StagingLost(found)) => Err(jobs::lose_staging(db, job_id, attempt, &found).await),
        Err(Stop::Error(error)) => Err(error),
    }
}

async fn mark_under_lock(tx: &Transaction<'_>, job: &Job, number: i32) -> Result<Marked, Stop> {
    let Some(state) = chunks::lock(tx, job, number).await? else {
        // Another chunk may have found staging lost, which deletes the plan: then the job's state says so.
        jobs::expect(tx, job.id, job.attempt, Status::Checking).await?;
        return Err(StepError::invalid(format!("job {} has no chunk {number}", job.id)).into());
    };
    if state.is_marked() {
        // By an earlier run.
        return Ok(state.marked());
    }
    let marked = match find_marks(tx, job, &state).await {
        Err(error) if error.is_missing_table() => return Err(Stop::StagingLost("a table is gone".into())),
        marked => within_budget(&format!("chunk {number}"), SPLIT, marked)?,
    };
    if marked.rows != state.staged {
        let found = format!("chunk {number} has {} rows, {} were committed", marked.rows, state.staged);
        return Err(Stop::StagingLost(found));
    }
    chunks::record_marked(tx, job.id, number, &marked).await?;
    jobs::fence(tx, job.id, job.attempt, Status::Checking).await?;
    Ok(marked)
}

/// Marks the chunk here, or in the database where that is better.
async fn find_marks(tx: &Transaction<'_>, job: &Job, state: &ChunkState) -> DbResult<Marked> {
    match compare::mark(tx, job.id, job.merchant, &state.chunk, state.staged).await? {
        Some(marked) => Ok(marked),
        None => staging::mark(tx, job.id, job.merchant, &state.chunk).await,
    }
}
