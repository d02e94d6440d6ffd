//! Takes a completed import back: its codes leave production in one transaction. Codes that were claimed since stay,
//! unless the request said otherwise, and are listed under `reports/`.

use serde_json::{Value, json};
use shared::db::pool::client;
use shared::db::rollback::{self, RolledBack};
use shared::db::staging::export::COLUMNS;
use shared::db::tasks::{self, Begun, Task};
use shared::db::{Connection, report, verify};
use shared::domain::csv_text;
use shared::domain::step::StepResult;
use shared::domain::task::{Action, Claimed};
use shared::edge::deliver::deliver;
use shared::edge::gzip_upload::GzipUpload;
use shared::edge::serve::causes;
use shared::edge::task::{TaskInput, give_up};
use shared::edge::{App, Budget};

/// The handler. Names of the result as operators' scripts know them.
pub async fn handle(app: App, input: TaskInput, budget: Budget) -> StepResult<Value> {
    if let Some(caught) = &input.error {
        return give_up(&app, input.task_id, caught).await;
    }
    let connection = app.db.connection().await?;
    let begun = tasks::begin_step(client(&connection), input.task_id, Action::Rollback).await?;
    drop(connection);
    let task = match begun {
        Begun::ToDo(task) => task,
        Begun::Done(result) => return Ok(result),
    };
    let (done, messages) = rollback::roll_back(&app.db, &task, budget.left()).await?;
    deliver(&app, &messages).await;
    let files = match task.claimed {
        Some(Claimed::Keep) if done.kept > 0 => vec![list_kept(&app, &task, budget).await?],
        _ => Vec::new(),
    };
    let RolledBack { deleted, kept, original } = done;
    let result = json!({
        "success": true,
        "job_id": task.job,
        "codes_deleted": deleted,
        "codes_kept": kept,
        "original_insert_count": original,
        "message": format!("Rolled back {deleted} codes from job {}", task.job),
        "files": files,
    });
    let connection = app.db.connection().await?;
    tasks::finish(client(&connection), task.id, &result).await?;
    drop(connection);
    // Housekeeping: what was deleted makes room, and the next marking reads the index alone.
    if let Err(error) = verify::vacuum(&app.db, budget.left()).await {
        tracing::warn!(message = %error, causes = causes(&error), "VACUUM is left to autovacuum");
    }
    if let Err(error) = verify::count_merchant(&app.db, task.job, budget.left()).await {
        tracing::warn!(message = %error, causes = causes(&error), "the merchant's codes are not counted");
    }
    Ok(result)
}

/// `reports/{merchant}/{job}/claimed.csv.gz`: the codes that are still there, and who has claimed them.
async fn list_kept(app: &App, task: &Task, budget: Budget) -> StepResult<Value> {
    let mut connection = app.db.connection().await?;
    let mut upload = GzipUpload::new(app.objects(), format!("{}claimed.csv.gz", task.reports()));
    let rows = match copy_kept(&mut connection, task, &mut upload, budget).await {
        Ok(rows) => rows,
        Err(error) => {
            upload.abort().await;
            return Err(error);
        }
    };
    let stored = upload.finish().await?;
    Ok(json!({ "key": stored.key, "name": "claimed.csv.gz", "rows": rows, "bytes": stored.bytes }))
}

async fn copy_kept(
    connection: &mut Connection,
    task: &Task,
    upload: &mut GzipUpload,
    budget: Budget,
) -> StepResult<i64> {
    let header: Vec<&str> = COLUMNS.iter().copied().chain(["claimed_customer_id"]).collect();
    upload.write(csv_text::record(&header, b',').as_bytes()).await?;
    let mut lines = report::read_codes(connection, task.job, task.merchant, budget.left()).await?;
    while let Some(line) = lines.next().await? {
        upload.write(&line).await?;
    }
    lines.end().await
}
