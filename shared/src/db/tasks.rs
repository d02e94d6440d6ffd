//! The rows of `import_tasks`: one rollback, verification or export, and the fence that its execution works behind.

use super::error::DbResult;
use super::outbox::Message;
use super::rows::Param;
use super::{outbox, sql};
use crate::domain::ids::{JobId, MerchantId, TaskId};
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use crate::domain::task::{Action, Claimed, ExportKind, TaskStatus};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

/// What a step needs to know of its task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub id: TaskId,
    pub job: JobId,
    pub merchant: MerchantId,
    pub action: Action,
    pub kind: Option<ExportKind>,
    pub claimed: Option<Claimed>,
    pub status: TaskStatus,
    pub result: Option<Value>,
}

impl Task {
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            id: TaskId(row.get("id")),
            job: JobId(row.get("job_id")),
            merchant: MerchantId(row.get("merchant_id")),
            action: Action::by_name(row.get("action"))?,
            kind: row.get::<_, Option<&str>>("kind").and_then(ExportKind::by_name),
            claimed: row.get::<_, Option<&str>>("claimed").and_then(Claimed::by_name),
            status: TaskStatus::by_name(row.get("status"))?,
            result: row.get("result"),
        })
    }

    /// Where its files lie: `reports/{merchant}/{job}/`.
    pub fn reports(&self) -> String {
        reports(self.merchant, self.job)
    }

    fn given_up(&self) -> StepError {
        superseded(self.id)
    }
}

/// The folder of a job's reports in the bucket.
pub fn reports(merchant: MerchantId, job: JobId) -> String {
    format!("reports/{merchant}/{job}/")
}

fn superseded(task: TaskId) -> StepError {
    StepError::new(StepErrorKind::Superseded, format!("task {task} is over: nobody waits for this any more"))
}

/// Where a task stands for the step that is to do it.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    ToDo(Task),
    /// Done before, with this result.
    Done(Value),
}

/// Reads the task that a step was called for. One that was given up is `Superseded`.
pub async fn begin_step(client: &Client, id: TaskId, action: Action) -> StepResult<Begun> {
    let row = sql::TASKS_GET.opt(client, &[(&id.0, Type::UUID)]).await?;
    let task = row.as_ref().and_then(Task::read).filter(|task| task.action == action);
    let task = task.ok_or_else(|| StepError::invalid(format!("there is no {action} {id}")))?;
    match (task.status, &task.result) {
        (TaskStatus::Active, _) => Ok(Begun::ToDo(task)),
        (TaskStatus::Done, Some(result)) => Ok(Begun::Done(result.clone())),
        _ => Err(task.given_up()),
    }
}

/// Locks the task against whoever gives it up, until the transaction ends.
pub async fn fence(client: &Client, id: TaskId) -> StepResult<()> {
    match sql::TASKS_FENCE.opt(client, &[(&id.0, Type::UUID)]).await? {
        Some(_) => Ok(()),
        None => Err(superseded(id)),
    }
}

/// Notes what the task came to. `Superseded` when it was given up meanwhile.
pub async fn finish(client: &Client, id: TaskId, result: &Value) -> StepResult<()> {
    match sql::TASKS_FINISH.run(client, &[(&id.0, Type::UUID), (result, Type::JSONB)]).await? {
        1 => Ok(()),
        _ => Err(superseded(id)),
    }
}

/// Ends a task that failed for good; a rollback that did not come to pass gives its lease back. `false`: it was over.
pub async fn give_up(client: &Client, id: TaskId, why: &str) -> DbResult<bool> {
    let params: &[Param<'_>] = &[(&id.0, Type::UUID), (&why, Type::TEXT)];
    Ok(sql::TASKS_GIVE_UP.opt(client, params).await?.is_some())
}

/// What a completed import leaves by itself: its duplicates and its rejects, if it has any.
pub async fn export_at_close(client: &Client, job: JobId) -> DbResult<Vec<i64>> {
    let mut messages = Vec::new();
    for row in sql::TASKS_EXPORT_AT_CLOSE.all(client, &[(&job.0, Type::UUID)]).await? {
        messages.push(start(client, job, TaskId(row.get("id")), Action::Export).await?);
    }
    Ok(messages)
}

/// Promises the execution of a task.
pub async fn start(client: &Client, job: JobId, task: TaskId, action: Action) -> DbResult<i64> {
    outbox::add(client, job, &Message::StartMaintenance { task, action }).await
}

/// An export as `GET /imports/{id}/exports` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// An `ExportKind`, or `claimed`: the codes that a rollback has kept.
    pub kind: String,
    pub status: TaskStatus,
    pub requested_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub result: Option<Value>,
    pub error_message: Option<String>,
}

/// Of each kind the latest that is done, the one under way, and a failure if nothing came after it.
pub async fn exports(client: &Client, job: JobId) -> DbResult<Vec<Export>> {
    let rows = sql::TASKS_EXPORTS.all(client, &[(&job.0, Type::UUID)]).await?;
    let all: Vec<Export> = rows
        .iter()
        .filter_map(|row| {
            Some(Export {
                kind: row.get("kind"),
                status: TaskStatus::by_name(row.get("status"))?,
                requested_at: row.get("requested_at"),
                finished_at: row.get("finished_at"),
                result: row.get("result"),
                error_message: row.get("error_message"),
            })
        })
        .collect();
    let newer = |export: &Export| {
        all.iter().any(|other| other.kind == export.kind && other.requested_at > export.requested_at)
    };
    let mut shown: Vec<Export> =
        all.iter().filter(|export| export.status != TaskStatus::Failed || !newer(export)).cloned().collect();
    shown.sort_by(|a, b| (&a.kind, b.requested_at).cmp(&(&b.kind, a.requested_at)));
    Ok(shown)
}

/// A task that an execution should be working on, and that has been silent for a while.
#[derive(Debug, Clone)]
pub struct Silent {
    pub task: TaskId,
    pub job: JobId,
    pub action: Action,
    /// Asked for more than ten minutes ago.
    pub old: bool,
}

pub async fn silent(client: &Client, for_at_least: Duration) -> DbResult<Vec<Silent>> {
    let rows = sql::TASKS_SILENT.all(client, &[(&for_at_least.as_secs_f64(), Type::FLOAT8)]).await?;
    let read = |row: &Row| {
        Some(Silent {
            task: TaskId(row.get("id")),
            job: JobId(row.get("job_id")),
            action: Action::by_name(row.get("action"))?,
            old: row.get("old"),
        })
    };
    Ok(rows.iter().filter_map(read).collect())
}
