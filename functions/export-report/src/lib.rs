//! Writes a report of an import as gzipped CSV under `reports/{merchant}/{job}/`: duplicates, every row with its
//! status, or the records that were rejected. Constant memory at any size; killed and run again, it begins anew, and
//! nothing can be seen before a file is whole.

mod rejects;
mod staged;

use serde::Serialize;
use serde_json::{Value, json};
use shared::db::pool::client;
use shared::db::report::Rows;
use shared::db::tasks::{self, Begun};
use shared::db::watch::Watch;
use shared::domain::step::{StepError, StepResult};
use shared::domain::task::{Action, ExportKind};
use shared::edge::task::{TaskInput, give_up};
use shared::edge::{App, Budget};

/// One file of an export.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct File {
    pub key: String,
    /// What it is called once it is fetched.
    pub name: String,
    pub rows: i64,
    pub bytes: i64,
}

/// The handler.
pub async fn handle(app: App, input: TaskInput, budget: Budget) -> StepResult<Value> {
    if let Some(caught) = &input.error {
        return give_up(&app, input.task_id, caught).await;
    }
    let connection = app.db.connection().await?;
    let begun = tasks::begin_step(client(&connection), input.task_id, Action::Export).await?;
    drop(connection);
    let task = match begun {
        Begun::ToDo(task) => task,
        Begun::Done(result) => return Ok(result),
    };
    let kind = task.kind.ok_or_else(|| StepError::internal(format!("task {} exports nothing", task.id)))?;
    let part = ExportKind::ALL.iter().position(|known| *known == kind).unwrap_or_default();
    let watch = Watch::of_task(app.db.clone(), task.id, "export", i32::try_from(part).unwrap_or_default());
    let (rows, files) = match kind {
        ExportKind::Duplicates => staged::export(&app, &task, Rows::Duplicates, &watch, budget).await?,
        ExportKind::Report => staged::export(&app, &task, Rows::All, &watch, budget).await?,
        ExportKind::Rejects => rejects::export(&app, &task, &watch, budget).await?,
    };
    drop(watch);
    let result = json!({
        "success": true,
        "job_id": task.job,
        "kind": kind,
        "rows": rows,
        "files": files,
        "message": format!("Exported {rows} rows of {kind} of job {}", task.job),
    });
    let connection = app.db.connection().await?;
    tasks::finish(client(&connection), task.id, &result).await?;
    Ok(result)
}
