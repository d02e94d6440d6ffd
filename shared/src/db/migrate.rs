//! Applies `migrations/`, on a direct connection and under an advisory lock: two deploys at once apply once.

use super::error::{DbError, DbResult};
use super::pool::Connection;

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
    let failed = |e| DbError::new("migrate.lock", e);
    connection.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})")).await.map_err(failed)?;
    let client: &mut tokio_postgres::Client = &mut connection;
    let result = embedded::migrations::runner().run_async(client).await;
    connection.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).await.map_err(failed)?;
    let report = result.map_err(|e| DbError::new("migrate.run", e))?;
    let applied: Vec<i64> = report.applied_migrations().iter().map(|m| i64::from(m.version())).collect();
    let version =
        embedded::migrations::runner().get_migrations().iter().map(|m| i64::from(m.version())).max();
    Ok(Migrated { applied, version: version.unwrap_or(0) })
}
