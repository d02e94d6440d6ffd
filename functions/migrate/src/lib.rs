//! Applies `migrations/` on a direct connection, under an advisory lock. A deployment invokes it, or a person.

use shared::db::migrate::{Migrated, migrate};
use shared::db::{Database, Usage};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::app::open_database;
use shared::lambda::{App, Budget};

/// The handler. Its input says nothing.
pub async fn handle(app: App, _event: serde_json::Value, _budget: Budget) -> StepResult<Migrated> {
    let migrated = migrate(direct_database(&app)?.connection().await?).await?;
    tracing::info!(applied = ?migrated.applied, version = migrated.version, "migrated");
    Ok(migrated)
}

/// The database without a pooler in between: in transaction mode a pooler can't hold the lock.
fn direct_database(app: &App) -> StepResult<Database> {
    match &app.config.migration_database_url {
        None => Ok(app.db.clone()),
        Some(url) => open_database(url, Usage::step(1)).map_err(|error| {
            StepError::with_source(StepErrorKind::Internal, "MIGRATION_DATABASE_URL can't be used", error)
        }),
    }
}
