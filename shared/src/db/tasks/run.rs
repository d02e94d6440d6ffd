//! Carrying a task out: reading it, the fence that its execution works behind, and its end.

use super::{DELETE_REPLACED, FENCE, FIND, FINISH, GIVE_UP, UNFINISHED};
use crate::db::connection::Session;
use crate::db::error::{DbError, DbResult};
use crate::db::outbox::Promises;
use crate::domain::ids::{JobId, MerchantId, TaskId};
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use crate::domain::task::{Action, ClaimedCodes, ExportKind, TaskStatus};
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::Row;

/// What a step needs to know of its task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The task.
    pub id: TaskId,
    /// The import that it is about.
    pub job: JobId,
    /// Whose import that is.
    pub merchant: MerchantId,
    /// What is to be done.
    pub action: Action,
    /// What an export writes.
    pub kind: Option<ExportKind>,
    /// What a rollback does with claimed codes.
    pub claimed: Option<ClaimedCodes>,
    /// Where it stands.
    pub status: TaskStatus,
    /// What it came to.
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
            claimed: row.get::<_, Option<&str>>("claimed").and_then(ClaimedCodes::by_name),
            status: TaskStatus::by_name(row.get("status"))?,
            result: row.get("result"),
        })
    }

    /// The folder of its files in the bucket.
    pub fn reports(&self) -> String {
        reports(self.merchant, self.job)
    }
}

/// The folder of an import's reports in the bucket: `reports/{merchant}/{job}/`.
pub fn reports(merchant: MerchantId, job: JobId) -> String {
    format!("reports/{merchant}/{job}/")
}

fn superseded(task: TaskId) -> StepError {
    let message = format!("task {task} is over: nobody waits for this any more");
    StepError::new(StepErrorKind::Superseded, message)
}

/// Where a task stands for the step that is to do it.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskState {
    /// It is to be done.
    ToDo(Task),
    /// It was done before, with this result.
    Done(Value),
}

/// Reads the task that a step was called for. One that was given up is `Superseded`.
pub async fn begin_step(on: &dyn Session, id: TaskId, action: Action) -> StepResult<TaskState> {
    let row = FIND.opt(on, &[&id]).await?;
    let task = row.as_ref().and_then(Task::read).filter(|task| task.action == action);
    let task = task.ok_or_else(|| StepError::invalid(format!("there is no {action} {id}")))?;
    match (task.status, &task.result) {
        (TaskStatus::Active, _) => Ok(TaskState::ToDo(task)),
        (TaskStatus::Done, Some(result)) => Ok(TaskState::Done(result.clone())),
        _ => Err(superseded(task.id)),
    }
}

/// Locks the task until the transaction ends. Giving it up updates its row: that waits, or this refuses.
pub async fn fence(on: &dyn Session, id: TaskId) -> StepResult<()> {
    match FENCE.opt(on, &[&id]).await? {
        Some(_) => Ok(()),
        None => Err(superseded(id)),
    }
}

/// Notes what the task came to. `Superseded` when it was given up meanwhile.
pub async fn finish(on: &dyn Session, id: TaskId, result: &Value) -> StepResult<()> {
    match FINISH.run_guarded(on, &[&id, result]).await? {
        true => Ok(()),
        false => Err(superseded(id)),
    }
}

/// Ends a task that failed for good. A rollback gives its merchant's lease back; what this promises the next in line is to be
/// delivered. `error_type`: of its step, unless its execution is gone. `None`: the task was over.
pub async fn give_up(
    on: &dyn Session,
    id: TaskId,
    error_type: Option<&str>,
    why: &str,
) -> DbResult<Option<Promises>> {
    match GIVE_UP.opt(on, &[&id, &error_type, &why]).await? {
        Some(row) => Promises::of_line(on, JobId(row.get("job_id"))).await.map(Some),
        None => Ok(None),
    }
}

/// A task that an execution should be working on.
#[derive(Debug, Clone)]
pub struct UnfinishedTask {
    /// The task.
    pub task: TaskId,
    /// The import that it is about.
    pub job: JobId,
    /// What is to be done.
    pub action: Action,
}

/// Takes the tasks whose executions are to be looked up now, the most urgent first: all rollbacks that have been silent for at
/// least `silent`, and up to `most` others, in turn.
pub async fn take_unfinished(on: &dyn Session, silent: Duration, most: i64) -> DbResult<Vec<UnfinishedTask>> {
    let mut tasks = Vec::new();
    for row in UNFINISHED.all(on, &[&silent.as_secs_f64(), &most]).await? {
        let action: &str = row.get("action");
        tasks.push(UnfinishedTask {
            task: TaskId(row.get("id")),
            job: JobId(row.get("job_id")),
            action: Action::by_name(action)
                .ok_or_else(|| DbError::defect(UNFINISHED.name, format!("`{action}` is no action")))?,
        });
    }
    Ok(tasks)
}

/// Deletes at most `batch` tasks that a later one has replaced, a week after their end. Returns how many.
pub async fn delete_replaced(on: &dyn Session, batch: u32) -> DbResult<u64> {
    DELETE_REPLACED.run_many(on, &[&i64::from(batch)]).await
}
