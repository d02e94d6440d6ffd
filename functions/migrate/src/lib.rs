//! Applies `migrations/` on a direct connection, under an advisory lock. A deployment invokes it, or a person. With `adopt` it then
//! makes an application's own table of codes the one that imports write to.

mod adopt;

pub use adopt::{Answer, Finding, Reason, Request, adopt};

use serde::{Deserialize, Serialize};
use shared::db::migrate::{Migrated, migrate};
use shared::db::{Database, Usage};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::app::open_database;
use shared::lambda::{App, Budget};

/// The input. Without `adopt` only the migrations run. Other members are ignored, because tools that invoke functions add their own.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Input {
    /// An application's table to adopt.
    #[serde(default)]
    pub adopt: Option<Request>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Output {
    /// The migrations.
    Migrated(Migrated),
    /// The adoption.
    Adoption(Answer),
}

/// How many connections to the database it holds. One holds the lock and changes the schema, the other looks.
pub const CONNECTIONS: usize = 2;

/// The handler.
pub async fn handle(app: App, input: Option<Input>, budget: Budget) -> StepResult<Output> {
    let db = direct_database(&app)?;
    let migrated = migrate(db.connection().await?).await?;
    tracing::info!(applied = ?migrated.applied, version = migrated.version, "migrated");
    match input.unwrap_or_default().adopt {
        None => Ok(Output::Migrated(migrated)),
        Some(request) => {
            let answer = adopt::adopt(&db, &request, budget).await?;
            let Answer { problems, warnings, applied, .. } = &answer;
            tracing::info!(problems = problems.len(), warnings = warnings.len(), applied, "adoption");
            Ok(Output::Adoption(answer))
        }
    }
}

/// The database without a pooler in between: in transaction mode a pooler can't hold the lock.
fn direct_database(app: &App) -> StepResult<Database> {
    match &app.config.migration_database_url {
        None => Ok(app.db.clone()),
        Some(url) => open_database(url, Usage::step(2)).map_err(|error| {
            StepError::with_source(StepErrorKind::Internal, "MIGRATION_DATABASE_URL can't be used", error)
        }),
    }
}
