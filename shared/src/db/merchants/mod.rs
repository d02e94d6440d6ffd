//! Merchants: the lock of an insert or rollback, the lock of the line for the lease, and the epoch of their codes.

use super::connection::Session;
use super::error::DbResult;
use super::statement::statements;
use crate::domain::ids::{JobId, MerchantId};

statements! {
    "merchants":
    EPOCH = "epoch";
    LOCK_LINE = "lock_line";
    LOCK_LINE_OF_JOB = "lock_line_of_job";
    RAISE_EPOCH = "raise_epoch";
    TRY_LOCK = "try_lock";
}

/// Takes the merchant's advisory lock until the transaction ends. `false`: another transaction holds it.
pub async fn try_lock(on: &dyn Session, merchant: MerchantId) -> DbResult<bool> {
    Ok(TRY_LOCK.one(on, &[&merchant]).await?.get("locked"))
}

/// Locks the line for the merchant's lease until the transaction ends. Whoever joins it or takes the lease from it does so under
/// this lock, and locks no user's row after it: lock order user, merchant, job.
pub async fn lock_line(on: &dyn Session, merchant: MerchantId) -> DbResult<()> {
    LOCK_LINE.one(on, &[&merchant]).await.map(drop)
}

/// The same for the merchant of a job. Whoever returns the lease locks the line before the job's row.
pub async fn lock_line_of(on: &dyn Session, job: JobId) -> DbResult<()> {
    LOCK_LINE_OF_JOB.opt(on, &[&job]).await.map(drop)
}

/// How often codes of the merchant were rolled back.
pub async fn find_epoch(on: &dyn Session, merchant: MerchantId) -> DbResult<i64> {
    Ok(EPOCH.one(on, &[&merchant]).await?.get("codes_epoch"))
}

/// Raises the epoch: what was marked before must be marked again.
pub async fn raise_epoch(on: &dyn Session, merchant: MerchantId) -> DbResult<()> {
    RAISE_EPOCH.run_one(on, &[&merchant]).await
}
