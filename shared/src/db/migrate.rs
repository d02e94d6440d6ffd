//! Applies `migrations/`, on a direct connection and under an advisory lock: two deploys at once apply once.

#![expect(clippy::disallowed_methods, reason = "an advisory lock and a schema return no rows")]

use super::connection::Connection;
use super::error::DbError;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use refinery::error::Kind;
use tokio_postgres::Client;

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// What a run of the migrations did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Migrated {
    /// Versions that this run applied.
    pub applied: Vec<i64>,
    /// The schema's version now.
    pub version: i64,
}

/// "onceload migrate", so that no other program's lock is hit by accident.
const LOCK: i64 = 0x6f6e_6365_6d69_6772;

/// Applies what is missing. The session lock needs a connection of its own, not one behind a
/// transaction-mode pooler.
///
/// A schema that other migrations made is `InvalidInput`, and nothing is applied.
pub async fn migrate(mut connection: Connection) -> StepResult<Migrated> {
    let client = connection.take_over()?;
    let lock_failed = |error| DbError::postgres("migrate.lock", error);
    client.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})")).await.map_err(lock_failed)?;
    let applied = apply(client).await;
    let unlocked = client.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).await;
    let migrated = applied?;
    unlocked.map_err(lock_failed)?;
    Ok(migrated)
}

async fn apply(client: &mut Client) -> StepResult<Migrated> {
    // The history of the migrations lies in the schema, too, so the schema comes before the first of them.
    let create_schema = "CREATE SCHEMA IF NOT EXISTS onceload";
    client.batch_execute(create_schema).await.map_err(|error| DbError::postgres("migrate.schema", error))?;
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name("onceload.refinery_schema_history");
    let report = runner.run_async(client).await.map_err(explain)?;
    let applied = report.applied_migrations().iter().map(|m| i64::from(m.version())).collect();
    let version = runner.get_migrations().iter().map(|m| i64::from(m.version())).max().unwrap_or(0);
    Ok(Migrated { applied, version })
}

fn explain(error: refinery::Error) -> StepError {
    match error.kind() {
        Kind::DivergentVersion(..) | Kind::MissingVersion(_) => {
            StepError::invalid(format!("other migrations than these made this database's schema: {error}"))
        }
        _ => StepError::with_source(StepErrorKind::Internal, "migrate.run failed", error),
    }
}
