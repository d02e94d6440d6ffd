//! Verifies an import: compares what is in production with what the import says it inserted. It runs once before the
//! import is completed, and again whenever a person asks.

mod count;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::db::jobs::{self, Job};
use shared::db::progress::Watch;
use shared::db::tasks::{self, TaskState};
use shared::db::{Database, DbResult, codes};
use shared::domain::ids::{JobId, TaskId};
use shared::domain::status::Status;
use shared::domain::step::{StepResult, list_causes};
use shared::domain::task::Action;
use shared::lambda::task::{Caught, give_up};
use shared::lambda::{App, Budget};
use std::time::Duration;
use tracing::{error, warn};

/// How long the codes of a merchant are counted while an import still holds the merchant.
const LONGEST_COUNT: Duration = Duration::from_secs(20);

/// A job whose codes are in; the task, if a person asked; and what the step failed with, if it is given up. With `tidy_up`, a job
/// that has ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    #[serde(default)]
    pub task_id: Option<TaskId>,
    #[serde(default)]
    pub error: Option<Caught>,
    #[serde(default)]
    pub tidy_up: bool,
}

/// What was found, now or by an earlier call for the same task; or why the task was given up. Tidying up answers nothing.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Output {
    Verified(Verification),
    VerifiedBefore(Value),
    GivenUp(Value),
    TidiedUp(()),
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
    /// `count` of an import that has no checksum and no sums; otherwise all of them were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<&'static str>,
}

/// How many connections to the database it holds. One compares, one counts the merchant's codes, one beats.
pub const CONNECTIONS: usize = 3;

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let Input { job_id, task_id, error, tidy_up: tidy } = input;
    if tidy {
        tidy_up(&app, job_id, budget).await;
        return Ok(Output::TidiedUp(()));
    }
    if let (Some(task), Some(caught)) = (task_id, &error) {
        return give_up(&app, task, caught).await.map(Output::GivenUp);
    }
    if let Some(result) = find_result(&app, task_id).await? {
        return Ok(Output::VerifiedBefore(result));
    }
    let job = jobs::get(&app.db.connection().await?, job_id).await?;
    let watch = watch(&app.db, &job, task_id);
    // For the end of the import and its event. A merchant whose codes take longer is counted once the import holds nothing.
    let merchant = async {
        if task_id.is_none() {
            count_merchant(&app, job_id, budget.left().min(LONGEST_COUNT)).await;
        }
    };
    let (verification, ()) = tokio::join!(count::verify(&app.db, &job, task_id, budget.left()), merchant);
    let verification = verification?;
    drop(watch);
    if !verification.verified {
        error!(%job_id, problems = ?verification.problems, "verification failed");
    }
    if task_id.is_some() {
        // Otherwise its own step does so, after the import has given back its lease.
        tidy_up(&app, job_id, budget).await;
    }
    Ok(Output::Verified(verification))
}

/// Beats for the task, or for the import that is about to be completed.
fn watch(db: &Database, job: &Job, task: Option<TaskId>) -> Option<Watch> {
    match task {
        Some(task) => Some(Watch::of_task(db, task, None)),
        None => (job.status == Status::Processing).then(|| Watch::of_step(db, job, None)),
    }
}

/// Keeps the next marking an index-only scan, and counts what the merchant has now. Nothing depends on it.
async fn tidy_up(app: &App, job: JobId, budget: Budget) {
    warn_if_failed("VACUUM is left to autovacuum", codes::vacuum(&app.db, budget.left()).await);
    count_merchant(app, job, budget.left()).await;
}

async fn count_merchant(app: &App, job: JobId, at_most: Duration) {
    let counted = jobs::count_merchant(&app.db, job, at_most).await;
    warn_if_failed("the merchant's codes were not counted", counted);
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
