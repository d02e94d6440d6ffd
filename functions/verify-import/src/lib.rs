//! Verifies an import: compares what is in production with what the import says it inserted. It runs once before the
//! import is completed, and again whenever a person asks.

mod count;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::db::tasks::{self, TaskState};
use shared::db::{DbResult, codes, jobs};
use shared::domain::ids::{JobId, TaskId};
use shared::domain::step::{StepResult, list_causes};
use shared::domain::task::Action;
use shared::lambda::task::{Caught, give_up};
use shared::lambda::{App, Budget};
use tracing::{error, warn};

/// A job whose codes are in; the task, if a person asked; and what the step failed with, if it is given up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    #[serde(default)]
    pub task_id: Option<TaskId>,
    #[serde(default)]
    pub error: Option<Caught>,
}

/// What was found, now or by an earlier call for the same task; or why the task was given up.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Output {
    Verified(Verification),
    VerifiedBefore(Value),
    GivenUp(Value),
}

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    pub success: bool,
    pub job_id: JobId,
    pub expected_count: i64,
    pub actual_count: i64,
    pub verified: bool,
    /// What is off, in words; empty if verified.
    pub problems: Vec<String>,
}

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let Input { job_id, task_id, error } = input;
    if let (Some(task), Some(caught)) = (task_id, &error) {
        return give_up(&app, task, caught).await.map(Output::GivenUp);
    }
    if let Some(result) = find_result(&app, task_id).await? {
        return Ok(Output::VerifiedBefore(result));
    }
    // VACUUM runs beside it, on the other connection, so that the next marking reads the index alone.
    let (verification, vacuumed) = tokio::join!(
        count::verify(&app.db, job_id, task_id, budget.left()),
        codes::vacuum(&app.db, budget.left()),
    );
    warn_if_failed("VACUUM is left to autovacuum", vacuumed);
    let verification = verification?;
    if !verification.verified {
        error!(%job_id, problems = ?verification.problems, "verification failed");
    }
    let counted = jobs::count_merchant(&app.db, job_id, budget.left()).await;
    warn_if_failed("the merchant's codes were not counted", counted);
    Ok(Output::Verified(verification))
}

/// What an earlier call for the same task has found.
async fn find_result(app: &App, task: Option<TaskId>) -> StepResult<Option<Value>> {
    let Some(task) = task else { return Ok(None) };
    let connection = app.db.connection().await?;
    match tasks::begin_step(&connection, task, Action::Verify).await? {
        TaskState::ToDo(_) => Ok(None),
        TaskState::Done(result) => Ok(Some(result)),
    }
}

/// Verification does not depend on housekeeping.
fn warn_if_failed(what: &str, done: DbResult<()>) {
    if let Err(error) = done {
        warn!(%error, causes = list_causes(&error), "{what}");
    }
}
