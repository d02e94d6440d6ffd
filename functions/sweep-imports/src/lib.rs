//! Finishes what was left behind: undelivered messages, jobs and tasks whose execution is over, imports in line that nobody
//! woke, expired waits, old staging, old rejects and old uploads. It runs every minute; if one part fails, the others go on.

mod executions;
mod outbox;
mod rejects;
mod staging;
mod tasks;
mod uploads;

use executions::Execution;
use serde::Serialize;
use serde_json::json;
use shared::db::jobs::{self, Ending, SilentJob};
use shared::db::outbox::{Message, Promises, is_on_its_way};
use shared::domain::execution;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::deliver::deliver;
use shared::lambda::{App, Budget};
use std::time::Duration;

/// A step sends a heartbeat every second. After this long without one something is wrong, or the job waits. (An import that may
/// be superseded is silent for longer: `shared/src/domain/lease.rs`.)
const SILENT: Duration = Duration::from_secs(120);
/// How much later than the state machine the sweep ends a wait.
const EXPIRY_GRACE: Duration = Duration::from_secs(300);

/// What the sweep did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    pub delivered: usize,
    pub closed: usize,
    pub given_up: usize,
    pub woken: usize,
    pub expired: usize,
    pub staging_dropped: usize,
    pub rejects_deleted: usize,
    pub uploads_forgotten: usize,
}

/// The handler. Its input, the schedule's event, is not read.
pub async fn handle(app: App, _event: serde_json::Value, budget: Budget) -> StepResult<Output> {
    let mut errors = Vec::new();
    let mut part = |name: &str, done: StepResult<usize>| {
        done.unwrap_or_else(|error| {
            errors.push(format!("{name}: {error}"));
            0
        })
    };
    let output = Output {
        delivered: part("outbox", outbox::deliver_all(&app, Budget::of(budget.left() / 2)).await),
        closed: part("dead executions", close_dead(&app).await),
        given_up: part("dead tasks", tasks::give_up_dead(&app, SILENT).await),
        woken: part("lost wake-ups", wake_lost(&app).await),
        expired: part("expired waits", expire(&app).await),
        staging_dropped: part("staging", staging::drop_stale(&app).await),
        rejects_deleted: part("rejects", rejects::delete_expired(&app).await),
        uploads_forgotten: part("old uploads", uploads::forget_old(&app).await),
    };
    if errors.is_empty() {
        return Ok(output);
    }
    // The alarm on this function's errors must go off.
    Err(StepError::new(StepErrorKind::Transient, errors.join("; ")))
}

async fn close_dead(app: &App) -> StepResult<usize> {
    let connection = app.db.connection().await?;
    let silent = jobs::find_silent(&connection, SILENT).await?;
    drop(connection);
    let mut closed = 0;
    for job in silent {
        if let Some(how) = find_end(app, &job).await? {
            closed += usize::from(end(app, job.job, job.attempt, Status::Failed, &how).await?);
        }
    }
    Ok(closed)
}

/// How the job's execution ended, if it has.
async fn find_end(app: &App, job: &SilentJob) -> StepResult<Option<String>> {
    let arn = match (&job.execution_arn, &app.config.state_machine_arn) {
        (Some(arn), _) => arn.clone(),
        // No execution has opened it. The one that the outbox starts has its name.
        (None, Some(machine)) => execution::arn(machine, &execution::name_of_attempt(job.job, job.attempt)),
        (None, None) => return Ok(None),
    };
    Ok(match executions::find(app, &arn).await {
        Execution::Ended(how) => Some(how),
        Execution::Gone if job.execution_arn.is_none() && is_starting(app, job).await? => None,
        Execution::Gone => Some("its execution is gone".to_owned()),
        Execution::Going => None,
    })
}

/// Whether the outbox starts its execution, or did so only now.
async fn is_starting(app: &App, job: &SilentJob) -> StepResult<bool> {
    let start = Message::StartExecution { attempt: job.attempt };
    Ok(is_on_its_way(&app.db.connection().await?, job.job, &start).await?)
}

/// Wakes the first import in line of each merchant whose lease is free. Returns how many it woke.
async fn wake_lost(app: &App) -> StepResult<usize> {
    let connection = app.db.connection().await?;
    let lost = jobs::find_lost_wakes(&connection).await?;
    drop(connection);
    let mut woken = 0;
    for job in lost {
        let connection = app.db.connection().await?;
        // Decided again under the line's lock.
        jobs::hand_over(&connection, job).await?;
        let promises = Promises::of_line(&connection, job).await?;
        drop(connection);
        woken += usize::from(!promises.is_empty());
        deliver(app, promises).await;
    }
    Ok(woken)
}

async fn expire(app: &App) -> StepResult<usize> {
    let connection = app.db.connection().await?;
    let waits = jobs::find_overdue(&connection, app.config.approval_timeout + EXPIRY_GRACE).await?;
    drop(connection);
    let mut expired = 0;
    for (job, attempt) in waits {
        expired +=
            usize::from(end(app, job, attempt, Status::Expired, "nobody approved the import in time").await?);
    }
    Ok(expired)
}

async fn end(app: &App, job: JobId, attempt: i32, status: Status, why: &str) -> StepResult<bool> {
    let mut connection = app.db.connection().await?;
    let ending = Ending::Stopped {
        status,
        message: Some(why.to_owned()),
        errors: json!([]),
        only_waiting: status == Status::Expired,
    };
    let closed = jobs::close(&mut connection, job, attempt, &ending).await?;
    drop(connection);
    let Some(closed) = closed else { return Ok(false) };
    let ended = !closed.promises.is_empty();
    deliver(app, closed.promises).await;
    Ok(ended)
}
