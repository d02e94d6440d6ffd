//! The one transaction that deletes the codes and records that they are gone.

use crate::parts;
use shared::db::jobs::{self, RollbackState};
use shared::db::outbox::{Message, Promises};
use shared::db::progress::Watch;
use shared::db::tasks::{self, Task};
use shared::db::{Connection, Database, Limits, Session, Transaction, merchants};
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use std::time::Duration;

/// What a rollback did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RolledBack {
    /// Codes that left production.
    pub deleted: i64,
    /// Codes that stayed: claimed since the import, referenced by rows of other tables, or held by another transaction.
    pub kept: i64,
    /// Codes that the import had inserted.
    pub original: i64,
}

impl RolledBack {
    /// What was done, if the job is rolled back.
    fn read(state: &RollbackState) -> Option<Self> {
        Some(Self { deleted: state.deleted?, kept: state.kept?, original: state.inserted? })
    }
}

/// Deletes the job's codes, once. Run again after it committed, it returns what it did then.
pub(crate) async fn roll_back(
    db: &Database,
    task: &Task,
    watch: &Watch,
    time_left: Duration,
) -> StepResult<(RolledBack, Promises)> {
    let mut connection = db.connection().await?;
    if let Some(done) = find_done(&connection, task).await? {
        return Ok((done, Promises::none()));
    }
    in_one_transaction(&mut connection, task, watch, time_left).await
}

/// What an earlier run of this step did. An error unless the job is being rolled back or was.
async fn find_done(on: &dyn Session, task: &Task) -> StepResult<Option<RolledBack>> {
    let state = jobs::find_rollback(on, task.job).await?;
    match (state.status, state.leased) {
        (Status::RolledBack, _) => Ok(RolledBack::read(&state)),
        (Status::Completed, true) => Ok(None),
        (status, _) => {
            let message = format!("job {} is {}, and not being rolled back", task.job, status.as_str());
            Err(StepError::new(StepErrorKind::Superseded, message))
        }
    }
}

async fn in_one_transaction(
    connection: &mut Connection,
    task: &Task,
    watch: &Watch,
    time_left: Duration,
) -> StepResult<(RolledBack, Promises)> {
    let mut tx = connection.begin("rollback", Limits::bulk(time_left)).await?;
    let outcome = delete_and_record(&mut tx, task, watch, time_left).await;
    tx.settle(outcome).await
}

/// Everything between BEGIN and COMMIT.
async fn delete_and_record(
    tx: &mut Transaction<'_>,
    task: &Task,
    watch: &Watch,
    time_left: Duration,
) -> StepResult<(RolledBack, Promises)> {
    if !merchants::try_lock(tx, task.merchant).await? {
        let message = "an insert or a rollback of this merchant has not ended yet";
        return Err(StepError::new(StepErrorKind::Transient, message));
    }
    // The lock may have been held by a ghost of this very step.
    if let Some(done) = find_done(tx, task).await? {
        return Ok((done, Promises::none()));
    }
    let (deleted, kept) = parts::delete_codes(tx, task, watch, time_left).await?;
    record(tx, task, deleted, kept).await
}

/// Raises the merchant's epoch, checks that nobody has given the task up, and decides.
async fn record(
    tx: &Transaction<'_>,
    task: &Task,
    deleted: i64,
    kept: i64,
) -> StepResult<(RolledBack, Promises)> {
    // Lock order: merchant, then task, then job. They come last, so that nobody waits for the deletion to read or change them.
    merchants::raise_epoch(tx, task.merchant).await?;
    tasks::fence(tx, task.id).await?;
    let decided = jobs::record_rolled_back(tx, task.job, deleted, kept).await?;
    let state = jobs::find_rollback(tx, task.job).await?;
    let (true, Some(done)) = (decided, RolledBack::read(&state)) else {
        let message = format!("job {} is not being rolled back any more", task.job);
        return Err(StepError::new(StepErrorKind::Superseded, message));
    };
    // First: the next in line waits for it.
    let mut promises = Promises::of_line(tx, task.job).await?;
    promises.promise(tx, task.job, &Message::StateChanged).await?;
    if done.deleted + done.kept != done.original {
        let RolledBack { deleted, kept, original } = done;
        tracing::warn!(job_id = %task.job, deleted, kept, original, "the import had inserted another number of codes");
    }
    Ok((done, promises))
}
