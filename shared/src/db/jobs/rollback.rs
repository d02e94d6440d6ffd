//! The job's row in a rollback of its codes.

use super::statements as sql;
use crate::db::connection::Session;
use crate::db::decode::read_word;
use crate::db::error::DbResult;
use crate::domain::ids::JobId;
use crate::domain::status::Status;

/// Where a rollback stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackState {
    /// `completed` before, `rolled_back` after.
    pub status: Status,
    /// It holds the merchant's lease.
    pub leased: bool,
    /// What the import had inserted.
    pub inserted: Option<i64>,
    /// What the rollback deleted.
    pub deleted: Option<i64>,
    /// What the rollback kept.
    pub kept: Option<i64>,
}

/// Reads where a rollback stands.
pub async fn find_rollback(on: &dyn Session, job: JobId) -> DbResult<RollbackState> {
    let row = sql::ROLLBACK_STATE.one(on, &[&job]).await?;
    Ok(RollbackState {
        status: read_word(&row, "status")?,
        leased: row.get("leased"),
        inserted: row.get("codes_inserted"),
        deleted: row.get("codes_deleted"),
        kept: row.get("codes_kept"),
    })
}

/// The last statement of a rollback: it decides whether the codes are gone. `false`: it is not being rolled back.
pub async fn record_rolled_back(on: &dyn Session, job: JobId, deleted: i64, kept: i64) -> DbResult<bool> {
    sql::ROLLED_BACK.run_guarded(on, &[&job, &deleted, &kept]).await
}
