//! Applies `migrations/`, on a direct connection and under an advisory lock: two deploys at once apply once.

#![expect(clippy::disallowed_methods, reason = "an advisory lock and a schema return no rows")]

use super::connection::Connection;
use super::error::{DbError, is_transient};
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use refinery::error::Kind;
use std::error::Error;
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
pub(super) const LOCK: i64 = 0x6f6e_6365_6d69_6772;

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

/// Which migration failed, and why, in PostgreSQL's words.
fn explain(error: refinery::Error) -> StepError {
    // refinery wraps some errors twice.
    let mut causes =
        std::iter::successors(error.source(), |error: &&(dyn Error + 'static)| (*error).source());
    let cause = causes.find_map(|error| error.downcast_ref::<tokio_postgres::Error>());
    let kind = match cause {
        Some(cause) if is_transient(cause) => StepErrorKind::Transient,
        _ => StepErrorKind::Internal,
    };
    match (error.kind(), cause.and_then(tokio_postgres::Error::as_db_error)) {
        (Kind::DivergentVersion(..) | Kind::MissingVersion(_), _) => {
            StepError::invalid(format!("other migrations than these made this database's schema: {error}"))
        }
        (Kind::Connection(doing, _), Some(refused)) => {
            let why = format!("{doing}: {} ({})", refused.message(), refused.code().code());
            StepError::with_source(kind, why, error)
        }
        (Kind::Connection(doing, _), None) => StepError::with_source(kind, doing.clone(), error),
        _ => StepError::with_source(kind, error.to_string(), error),
    }
}
