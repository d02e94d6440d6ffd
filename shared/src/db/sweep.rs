//! What the sweep finds: work that nobody finished.

use super::error::DbResult;
use super::pool::{Connection, client};
use super::transaction::{Limits, begin, commit};
use super::{sql, staging};
use crate::domain::ids::JobId;
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// A job that an execution should be working on, and that has been silent for a while.
#[derive(Debug, Clone)]
pub struct Silent {
    pub job: JobId,
    pub attempt: i32,
    pub execution_arn: Option<String>,
    /// Silent for more than ten minutes.
    pub old: bool,
}

pub async fn silent(client: &Client, for_at_least: Duration) -> DbResult<Vec<Silent>> {
    let rows = sql::SWEEP_RUNNING.all(client, &[(&for_at_least.as_secs_f64(), Type::FLOAT8)]).await?;
    Ok(rows
        .iter()
        .map(|row| Silent {
            job: JobId(row.get("id")),
            attempt: row.get("attempt"),
            execution_arn: row.get("execution_arn"),
            old: row.get("old"),
        })
        .collect())
}

/// Jobs whose wait for an approval is over.
pub async fn expired(client: &Client, after: Duration) -> DbResult<Vec<(JobId, i32)>> {
    let rows = sql::SWEEP_EXPIRED.all(client, &[(&after.as_secs_f64(), Type::FLOAT8)]).await?;
    Ok(rows.iter().map(|row| (JobId(row.get("id")), row.get("attempt"))).collect())
}

/// Drops the staging of jobs that ended more than `days` ago. Returns how many.
pub async fn drop_stale_staging(connection: &mut Connection, days: i32) -> DbResult<usize> {
    const NAME: &str = "sweep.staging";
    let stale = sql::SWEEP_STALE_STAGING.all(client(connection), &[(&days, Type::INT4)]).await?;
    for row in &stale {
        let job = JobId(row.get("id"));
        let tx = begin(connection, NAME, Limits::short()).await?;
        // Decided again under the row's lock: a retry may have begun.
        if sql::SWEEP_STAGING_CLEARED.opt(tx.client(), &[(&job.0, Type::UUID)]).await?.is_some() {
            staging::drop_tables(&tx, job).await?;
            commit(tx, NAME).await?;
        }
    }
    Ok(stale.len())
}
