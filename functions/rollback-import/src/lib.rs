//! Takes a completed import back: its codes leave production in one transaction. Codes that were claimed since stay,
//! unless the request says otherwise, and so does what rows of other tables reference; they are listed under `reports/`.

mod delete;
mod kept;
mod parts;

use delete::RolledBack;
use kept::KeptFile;
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::progress::{Part, Watch};
use shared::db::tasks::{self, Task, TaskState};
use shared::db::{codes, jobs};
use shared::domain::ids::JobId;
use shared::domain::step::{StepResult, list_causes};
use shared::domain::task::Action;
use shared::lambda::deliver::deliver;
use shared::lambda::task::{TaskInput, give_up};
use shared::lambda::{App, Budget};

/// What a rollback came to. Names as operators' scripts know them.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Always true: a rollback that fails has no output.
    pub success: bool,
    /// The import.
    pub job_id: JobId,
    /// Codes that left production.
    pub codes_deleted: i64,
    /// Codes that stayed.
    pub codes_kept: i64,
    /// Codes that the import had inserted.
    pub original_insert_count: i64,
    /// The same for a person.
    pub message: String,
    /// The list of the codes that stayed, if there are any.
    pub files: Vec<KeptFile>,
}

/// How many connections to the database it holds. One deletes, the other reports progress.
pub const CONNECTIONS: usize = 2;

/// The handler.
pub async fn handle(app: App, input: TaskInput, budget: Budget) -> StepResult<Value> {
    if let Some(caught) = &input.error {
        return give_up(&app, input.task_id, caught).await;
    }
    let connection = app.db.connection().await?;
    let state = tasks::begin_step(&connection, input.task_id, Action::Rollback).await?;
    drop(connection);
    let task = match state {
        TaskState::ToDo(task) => task,
        TaskState::Done(result) => return Ok(result),
    };
    let watch = Watch::of_task(&app.db, task.id, Some(Part { step: "rollback", number: 0 }));
    let (done, promises) = delete::roll_back(&app.db, &task, &watch, budget.left()).await?;
    deliver(&app, promises).await;
    let files = if done.kept > 0 { vec![kept::list(&app, &task, budget).await?] } else { Vec::new() };
    count_merchant(&app, task.job, budget).await?;
    let result = json!(Output::new(&task, done, files));
    tasks::finish(&app.db.connection().await?, task.id, &result).await?;
    drop(watch);
    tidy_up(&app, budget).await;
    Ok(result)
}

impl Output {
    fn new(task: &Task, done: RolledBack, files: Vec<KeptFile>) -> Self {
        let RolledBack { deleted, kept, original } = done;
        Self {
            success: true,
            job_id: task.job,
            codes_deleted: deleted,
            codes_kept: kept,
            original_insert_count: original,
            message: format!("Rolled back {deleted} codes from job {}", task.job),
            files,
        }
    }
}

/// Counts before the task ends: a rollback that is called again then counts again. Nothing depends on the number, so one that takes
/// too long is left out.
async fn count_merchant(app: &App, job: JobId, budget: Budget) -> StepResult<()> {
    match jobs::count_merchant(&app.db, job, budget.left()).await {
        Err(error) if error.is_transient() => Err(error.into()),
        Err(error) => {
            let causes = list_causes(&error);
            tracing::warn!(message = %error, causes, "the merchant's codes were not counted");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Makes room, and keeps the next marking an index-only scan. Nothing depends on it.
async fn tidy_up(app: &App, budget: Budget) {
    if let Err(error) = codes::vacuum(&app.db, budget.left()).await {
        tracing::warn!(message = %error, causes = list_causes(&error), "VACUUM is left to autovacuum");
    }
}
