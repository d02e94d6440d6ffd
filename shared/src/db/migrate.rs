//! Applies `migrations/`, on a direct connection and under an advisory lock: two deploys at once apply once.

#![expect(clippy::disallowed_methods, reason = "an advisory lock and a schema return no rows")]

use super::connection::Connection;
use super::error::{DbError, DbResult};

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
pub async fn migrate(mut connection: Connection) -> DbResult<Migrated> {
    let client = connection.take_over()?;
    let lock_failed = |error| DbError::postgres("migrate.lock", error);
    client.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})")).await.map_err(lock_failed)?;
    client.batch_execute("CREATE SCHEMA IF NOT EXISTS onceload").await.map_err(lock_failed)?;
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name("onceload.refinery_schema_history");
    let result = runner.run_async(client).await;
    client.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).await.map_err(lock_failed)?;
    let report = result.map_err(|error| DbError::defect("migrate.run", error.to_string()))?;
    let applied: Vec<i64> = report.applied_migrations().iter().map(|m| i64::from(m.version())).collect();
    let version =
        embedded::migrations::runner().get_migrations().iter().map(|m| i64::from(m.version())).max();
    Ok(Migrated { applied, version: version.unwrap_or(0) })
}
