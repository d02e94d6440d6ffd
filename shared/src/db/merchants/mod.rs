//! Merchants: the lock of an insert or rollback, and the epoch of their codes.

use super::connection::Session;
use super::error::DbResult;
use super::statement::statements;
use crate::domain::ids::MerchantId;

statements! {
    "merchants":
    EPOCH = "epoch";
    RAISE_EPOCH = "raise_epoch";
    TRY_LOCK = "try_lock";
}

/// Takes the merchant's advisory lock until the transaction ends. `false`: another transaction holds it.
pub async fn try_lock(on: &dyn Session, merchant: MerchantId) -> DbResult<bool> {
    Ok(TRY_LOCK.one(on, &[&merchant]).await?.get("locked"))
}

/// How often codes of the merchant were rolled back.
pub async fn find_epoch(on: &dyn Session, merchant: MerchantId) -> DbResult<i64> {
    Ok(EPOCH.one(on, &[&merchant]).await?.get("codes_epoch"))
}

/// Raises the epoch: what was marked before must be marked again.
pub async fn raise_epoch(on: &dyn Session, merchant: MerchantId) -> DbResult<()> {
    RAISE_EPOCH.run_one(on, &[&merchant]).await
}
