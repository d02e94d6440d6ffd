//! Data migrations: one at a time per user, merchant, mapping and content.

use super::connection::Session;
use super::error::DbResult;
use super::jobs::Start;
use super::statement::statements;
use crate::domain::ids::JobId;
use tokio_postgres::types::Json;

statements! {
    "migration_jobs":
    ACTIVE = "active";
    RUN = "run";
}

/// Writes the row of a migration. `false`: one with this base key is active.
pub async fn insert(on: &dyn Session, start: &Start<'_>, base_key: &str) -> DbResult<bool> {
    // UUIDv7 is time-ordered, so the runs of one base key sort.
    let key = format!("{base_key}_{}", start.job);
    let inserted = RUN
        .opt(on, &[&start.job, &start.user, &start.merchant, &base_key, &key, &Json(start.mapping)])
        .await?;
    Ok(inserted.is_some())
}

/// The active migration with this base key.
pub async fn find_active(on: &dyn Session, base_key: &str) -> DbResult<Option<JobId>> {
    Ok(ACTIVE.opt(on, &[&base_key]).await?.map(|row| JobId(row.get("id"))))
}
