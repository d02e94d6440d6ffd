//! Checks, under the merchant's lock, that what was approved still holds.

use crate::stop::Stop;
use shared::db::chunks::{self, ChunkState};
use shared::db::jobs::{self, Inserted, Job};
use shared::db::{Transaction, merchants};
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind};

/// One inserter per merchant, whatever the rows of the jobs say.
pub(crate) async fn lock_merchant(tx: &Transaction<'_>, job: &Job) -> Result<(), Stop> {
    if merchants::try_lock(tx, job.merchant).await? {
        return Ok(());
    }
    let message = "another insert of this merchant still holds its lock";
    Err(StepError::new(StepErrorKind::Transient, message).into())
}

/// What an earlier call of this step has inserted: it may have been alive until now, and held the lock.
pub(crate) async fn find_inserted(tx: &Transaction<'_>, job: &Job) -> Result<Option<Inserted>, Stop> {
    let now = jobs::get(tx, job.id).await?;
    match now.inserted {
        Some(done) if now.attempt == job.attempt => Ok(Some(done)),
        None if now.attempt == job.attempt && now.status == Status::Processing => Ok(None),
        _ => Err(now.refusal(job.attempt, Status::Processing).into()),
    }
}

/// A rollback deletes codes that others were marked as duplicates of, and raises the merchant's epoch.
pub(crate) async fn check_epoch(tx: &Transaction<'_>, job: &Job) -> Result<(), Stop> {
    let epoch = merchants::find_epoch(tx, job.merchant).await?;
    if job.codes_epoch == Some(epoch) {
        return Ok(());
    }
    Err(Stop::ProductionMoved("another import was rolled back".into()))
}

/// The chunks, all of them marked, whose clean codes are as many as were approved.
pub(crate) async fn list_marked(tx: &Transaction<'_>, job: &Job) -> Result<Vec<ChunkState>, Stop> {
    let states = chunks::list(tx, job).await?;
    let clean: i64 = states.iter().map(|state| state.clean).sum();
    if job.clean == Some(clean) && states.iter().all(ChunkState::is_marked) {
        return Ok(states);
    }
    Err(StepError::internal(format!("the chunks of job {} do not add up", job.id)).into())
}
