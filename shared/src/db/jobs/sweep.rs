//! Jobs that nobody has finished, and staging that nobody needs.

use super::statements as sql;
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::outbox::Promises;
use crate::domain::ids::JobId;
use std::time::Duration;

/// A job that an execution should be working on, or waiting for.
#[derive(Debug, Clone)]
pub struct UnfinishedJob {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub attempt: i32,
    /// The execution that has opened it.
    pub execution_arn: Option<String>,
}

/// Takes the jobs whose executions are to be looked up now, the most urgent first: all that hold a merchant or a user and have
/// been silent for at least `silent`, and up to `most` each of those that beat and of those that wait, in turn.
pub async fn take_unfinished(on: &dyn Session, silent: Duration, most: i64) -> DbResult<Vec<UnfinishedJob>> {
    let rows = sql::UNFINISHED.all(on, &[&silent.as_secs_f64(), &most]).await?;
    Ok(rows
        .iter()
        .map(|row| UnfinishedJob {
            job: JobId(row.get("id")),
            attempt: row.get("attempt"),
            execution_arn: row.get("execution_arn"),
        })
        .collect())
}

/// Goes on in the next attempt, whose start this promises, where an execution is over that has not heard of its approval: the files
/// stay loaded, and the approval stands if the same codes are clean. `None`: it has heard, or somebody else decided.
pub async fn begin_next_attempt(
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    execution_arn: &str,
) -> DbResult<Option<Promises>> {
    match sql::NEXT_ATTEMPT.opt(on, &[&job, &attempt, &execution_arn]).await? {
        Some(_) => Promises::of_start(on, job).await.map(Some),
        None => Ok(None),
    }
}

/// Takes jobs, with their attempts, that have waited for an approval for longer than this.
pub async fn take_overdue(on: &dyn Session, after: Duration) -> DbResult<Vec<(JobId, i32)>> {
    let rows = sql::OVERDUE.all(on, &[&after.as_secs_f64()]).await?;
    Ok(rows.iter().map(|row| (JobId(row.get("id")), row.get("attempt"))).collect())
}

/// Takes jobs that ended more than `days` ago and whose staging was not cleared.
pub async fn take_stale_staging(on: &dyn Session, days: i32) -> DbResult<Vec<JobId>> {
    let rows = sql::STALE_STAGING.all(on, &[&days]).await?;
    Ok(rows.iter().map(|row| JobId(row.get("id"))).collect())
}

/// Marks the staging of a finished job as cleared. `false`: a retry has begun.
pub async fn expire_staging(on: &dyn Session, job: JobId) -> DbResult<bool> {
    Ok(sql::EXPIRE_STAGING.opt(on, &[&job]).await?.is_some())
}

/// Says something about a job that has nothing to say. `false`: it has.
pub async fn add_note(on: &dyn Session, job: JobId, note: &str) -> DbResult<bool> {
    sql::ADD_NOTE.run_guarded(on, &[&job, &note]).await
}
