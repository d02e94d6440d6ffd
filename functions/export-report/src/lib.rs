//! Writes a report of an import as gzipped CSV under `reports/{merchant}/{job}/`: duplicates, every row with its status, or
//! the records that were rejected. Memory stays constant at any size. Killed and run again, it begins anew; nobody sees a file
//! before it is complete.

mod columns;
mod lane;
mod marks;
mod rejects;
mod restage;
mod split;
mod staged;

use marks::Rows;
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::progress::{Part, Watch};
use shared::db::tasks::{self, Task, TaskState};
use shared::domain::ids::JobId;
use shared::domain::step::{StepError, StepResult};
use shared::domain::task::{Action, ExportKind};
use shared::lambda::task::{TaskInput, give_up};
use shared::lambda::{App, Budget};

/// One file of an export.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// Its key in the bucket.
    pub key: String,
    /// The name of the file when it is fetched.
    pub name: String,
    /// Rows below the header.
    pub rows: i64,
    /// Its size, compressed.
    pub bytes: i64,
}

/// What an export came to.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Always true: an export that fails has no output.
    pub success: bool,
    /// The import.
    pub job_id: JobId,
    /// What was exported.
    pub kind: ExportKind,
    /// Rows of all files; of rejects, the records.
    pub rows: i64,
    /// The files.
    pub files: Vec<File>,
    /// The same for a person.
    pub message: String,
}

/// How many connections to the database it holds. Two read, one reports progress.
pub const CONNECTIONS: usize = 3;

/// The handler.
pub async fn handle(app: App, input: TaskInput, budget: Budget) -> StepResult<Value> {
    if let Some(caught) = &input.error {
        return give_up(&app, input.task_id, caught).await;
    }
    let connection = app.db.connection().await?;
    let state = tasks::begin_step(&connection, input.task_id, Action::Export).await?;
    drop(connection);
    let task = match state {
        TaskState::ToDo(task) => task,
        TaskState::Done(result) => return Ok(result),
    };
    let result = json!(export(&app, &task, budget).await?);
    tasks::finish(&app.db.connection().await?, task.id, &result).await?;
    Ok(result)
}

async fn export(app: &App, task: &Task, budget: Budget) -> StepResult<Output> {
    let kind = task.kind.ok_or_else(|| StepError::internal(format!("task {} exports nothing", task.id)))?;
    let part = ExportKind::ALL.iter().position(|known| *known == kind).unwrap_or_default();
    let number = i32::try_from(part).unwrap_or_default();
    let watch = Watch::of_task(&app.db, task.id, Some(Part { step: "export", number }));
    let (rows, files) = match kind {
        ExportKind::Duplicates => staged::export(app, task, Rows::Duplicates, &watch, budget).await?,
        ExportKind::Report => staged::export(app, task, Rows::All, &watch, budget).await?,
        ExportKind::Rejects => rejects::export(app, task, &watch, budget).await?,
    };
    let message = format!("Exported {rows} rows of {kind} of job {}", task.job);
    Ok(Output { success: true, job_id: task.job, kind, rows, files, message })
}
