//! Jobs whose steps are repeated for want of the database or of S3. `jobs.view` shows that as their phase once it has lasted a
//! minute; `phase` itself, by which steps decide, stays as it is.

use super::statements as sql;
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::pool::Database;
use crate::domain::ids::JobId;
use crate::domain::phase::Phase;

/// The job that a step works on, as the step's input names it.
#[derive(Debug, Clone, Default)]
pub struct WorkedOn {
    /// The job.
    pub job: Option<JobId>,
    /// Only this attempt.
    pub attempt: Option<i32>,
    /// The execution that opens it.
    pub execution_arn: Option<String>,
}

/// The first statement of an invocation: whether the job is delayed.
pub async fn find(db: &Database, on: &WorkedOn) -> DbResult<bool> {
    let row = db.first(&sql::DELAYED, &[&on.job, &on.attempt, &on.execution_arn]).await?;
    Ok(row.get("delayed"))
}

/// Notes that the job is delayed, from now on unless it was already. `phase` says what it waits for. `false`: there is no such
/// job at work.
pub async fn begin(on: &dyn Session, job: &WorkedOn, phase: Phase) -> DbResult<bool> {
    sql::DELAY.run_guarded(on, &[&job.job, &job.attempt, &job.execution_arn, &phase]).await
}

/// Notes that the job goes on. `false`: that is noted already.
pub async fn end(on: &dyn Session, job: &WorkedOn) -> DbResult<bool> {
    sql::GO_ON.run_guarded(on, &[&job.job, &job.attempt, &job.execution_arn]).await
}
