//! Starts a run, or finds the one that is active: two unique indexes decide.

use shared::db::jobs::{self, Entry, Start};
use shared::db::outbox::{Message, Promises};
use shared::db::{DbResult, Transaction, migration_jobs};
use shared::domain::ids::JobId;

/// What became of a run. Unless it is `Started`, nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is queued; these messages are to be delivered after the commit.
    Started(Promises),
    /// This job does it already.
    Running(JobId),
    /// The run in the way has just ended.
    TryAgain,
}

/// Starts a run unless one with the same key is active, or another job imports the same file.
pub(crate) async fn run(tx: &mut Transaction<'_>, start: &Start<'_>, base_key: &str) -> DbResult<Outcome> {
    let savepoint = tx.savepoint("migration").await?;
    let is_first = migration_jobs::insert(&savepoint, start, base_key).await?;
    if is_first && jobs::insert_queued(&savepoint, start, Entry::InLine).await? {
        let mut promises = Promises::none();
        promises.promise(&savepoint, start.job, &Message::StartExecution { attempt: 1 }).await?;
        savepoint.commit().await?;
        return Ok(Outcome::Started(promises));
    }
    savepoint.rollback().await?;
    let active = if is_first {
        // The same file came through another door, or from another user of the merchant.
        jobs::find_holder(tx, start, false).await?.and_then(|holder| holder.job)
    } else {
        migration_jobs::find_active(tx, base_key).await?
    };
    Ok(active.map_or(Outcome::TryAgain, Outcome::Running))
}
