//! The one transaction that deletes the codes, part by part of the heap, so that the step knows its pace and notices when
//! it was given up.

use shared::db::codes::{self, Part};
use shared::db::jobs::{self, RollbackState};
use shared::db::outbox::{Message, Promises};
use shared::db::progress::Watch;
use shared::db::tasks::{self, Task};
use shared::db::{ASK_AGAIN, Connection, Database, Limits, Session, Transaction, merchants, within_budget};
use shared::domain::pace::Pace;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::domain::task::ClaimedCodes;
use std::time::Duration;

/// Blocks of the heap that are deleted in one statement: 64 MiB.
const PART_BLOCKS: i64 = 8192;

/// What a rollback did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RolledBack {
    /// Codes that left production.
    pub deleted: i64,
    /// Codes that were claimed since the import, and stayed.
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
    let tx = connection.begin("rollback", Limits::bulk(time_left)).await?;
    let outcome = delete_and_record(&tx, task, watch, time_left).await;
    tx.settle(outcome).await
}

/// Everything between BEGIN and COMMIT.
async fn delete_and_record(
    tx: &Transaction<'_>,
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
    let deleted = delete_codes(tx, task, watch, time_left).await?;
    let kept = codes::count_of_job(tx, task.job, task.merchant).await;
    let kept = within_budget("counting the codes that stay", ASK_AGAIN, kept)?;
    record(tx, task, deleted, kept).await
}

/// Deletes the codes, and returns how many.
async fn delete_codes(
    tx: &Transaction<'_>,
    task: &Task,
    watch: &Watch,
    time_left: Duration,
) -> StepResult<i64> {
    let all = task.claimed == Some(ClaimedCodes::Delete);
    let parts = codes::find_parts(tx, task.job, PART_BLOCKS).await;
    let parts = within_budget("finding the codes", ASK_AGAIN, parts)?;
    let count_due = |part: &Part| if all { part.codes } else { part.codes - part.claimed };
    let total: i64 = parts.iter().map(count_due).sum();
    let mut pace = Pace::start("deleting", total, "codes", time_left, ASK_AGAIN);
    let mut deleted = 0;
    for part in parts.iter().filter(|part| count_due(part) > 0) {
        watch.check()?;
        let rows = codes::delete_part(tx, task.job, task.merchant, part.number, PART_BLOCKS, all).await;
        deleted += within_budget("deleting the codes", ASK_AGAIN, rows)?;
        watch.set_rows(deleted);
        pace.check(deleted)?;
    }
    let rest = codes::delete_rest(tx, task.job, task.merchant, all).await;
    deleted += within_budget("deleting the codes", ASK_AGAIN, rest)?;
    watch.set_rows(deleted);
    Ok(deleted)
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
