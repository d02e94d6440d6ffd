//! Applies `migrations/` on a direct connection, under an advisory lock. Invoked by a deployment or by hand.

use shared::db::migrate::{Migrated, migrate};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::edge::app::database;
use shared::edge::{App, Budget};

/// The handler; its input says nothing.
pub async fn handle(app: App, _event: serde_json::Value, _budget: Budget) -> StepResult<Migrated> {
    // A pooler in transaction mode can't hold the lock: this URL goes past it.
    let direct = std::env::var("MIGRATION_DATABASE_URL").ok().filter(|url| !url.is_empty());
    let db = match direct {
        Some(url) => database(&url, 1).map_err(|error| {
            StepError::with_source(StepErrorKind::Internal, "MIGRATION_DATABASE_URL can't be used", error)
        })?,
        None => app.db.clone(),
    };
    let migrated = migrate(db.connection().await?).await?;
    tracing::info!(applied = ?migrated.applied, version = migrated.version, "migrated");
    Ok(migrated)
}
