//! Starts an import in one transaction: takes the user's lease, supersedes what is stuck, and queues the job.

use shared::db::jobs::{self, Start};
use shared::db::outbox::{Message, Promises};
use shared::db::{DbResult, Transaction, merchants, user_profiles};
use shared::domain::lease::Holder;
use std::time::Duration;

/// What became of a start. Unless it is `Started`, the transaction must be rolled back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The import is queued.
    Started {
        /// Messages to deliver after the commit.
        promises: Promises,
        /// How long the user's stuck import had worked that this one supersedes.
        stuck: Option<Duration>,
    },
    /// An import of the user or of the merchant works, one waits for the merchant, or another job imports the same files.
    Held(Holder),
    /// The import in the way has just ended.
    TryAgain,
}

/// Takes the leases of the user and of the merchant and queues the import, or says who holds them.
/// Lock order: user, merchant, job.
pub(crate) async fn queue(tx: &Transaction<'_>, start: &Start<'_>) -> DbResult<Outcome> {
    let lease = user_profiles::take(tx, start.user, start.job).await?;
    if !lease.won {
        return Ok(Outcome::Held(lease.holder));
    }
    merchants::lock_line(tx, start.merchant).await?;
    let (mut promises, entry) = jobs::supersede(tx, start, lease.stuck_job).await?;
    if !jobs::insert_queued(tx, start, entry).await? {
        let holder = jobs::find_holder(tx, start, true).await?;
        return Ok(holder.map_or(Outcome::TryAgain, Outcome::Held));
    }
    promises.promise(tx, start.job, &Message::StartExecution { attempt: 1 }).await?;
    Ok(Outcome::Started { promises, stuck: lease.stuck })
}
