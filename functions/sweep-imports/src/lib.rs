//! Finishes what was left: undelivered messages, jobs and tasks whose execution is over, expired waits, old staging,
//! old uploads. Runs every five minutes; each part goes on when another fails.

mod executions;
mod tasks;
mod uploads;

use executions::Execution;
use serde::Serialize;
use serde_json::json;
use shared::db::close::{self, Ending};
use shared::db::pool::client;
use shared::db::sweep::{self, Silent};
use shared::domain::ids::JobId;
use shared::domain::job::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::edge::deliver::{deliver, deliver_due};
use shared::edge::{App, Budget};
use std::time::Duration;

/// Steps beat every second; after so long something is wrong, or the job waits.
const SILENT: Duration = Duration::from_secs(120);
/// The state machine's own time-out comes first.
const EXPIRY_GRACE: Duration = Duration::from_secs(300);

/// What the sweep did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    pub delivered: usize,
    pub closed: usize,
    pub given_up: usize,
    pub expired: usize,
    pub staging_dropped: usize,
    pub uploads_forgotten: usize,
}

/// The handler. Its input, the schedule's event, says nothing.
pub async fn handle(app: App, _event: serde_json::Value, _budget: Budget) -> StepResult<Output> {
    let mut errors = Vec::new();
    let mut part = |name: &str, done: StepResult<usize>| {
        done.unwrap_or_else(|error| {
            errors.push(format!("{name}: {error}"));
            0
        })
    };
    let output = Output {
        delivered: part(
            "outbox",
            deliver_due(&app, None, 100).await.map(|sent| sent.delivered).map_err(Into::into),
        ),
        closed: part("dead executions", close_dead(&app).await),
        given_up: part("dead tasks", tasks::give_up_dead(&app, SILENT).await),
        expired: part("expired waits", expire(&app).await),
        staging_dropped: part("staging", drop_staging(&app).await),
        uploads_forgotten: part("old uploads", uploads::forget_old(&app).await),
    };
    if errors.is_empty() {
        return Ok(output);
    }
    // So that the alarm on this function's errors rings.
    Err(StepError::new(StepErrorKind::Transient, errors.join("; ")))
}

async fn close_dead(app: &App) -> StepResult<usize> {
    let connection = app.db.connection().await?;
    let silent = sweep::silent(client(&connection), SILENT).await?;
    drop(connection);
    let mut closed = 0;
    for job in silent {
        if let Some(how) = how_it_ended(app, &job).await {
            closed += usize::from(end(app, job.job, job.attempt, Status::Failed, &how).await?);
        }
    }
    Ok(closed)
}

/// How the job's execution ended, if it has.
async fn how_it_ended(app: &App, job: &Silent) -> Option<String> {
    let Some(arn) = &job.execution_arn else {
        // Its start stands in the outbox; after ten minutes of failing starts a person should know.
        return job.old.then(|| "its execution could not be started".to_owned());
    };
    match executions::look(app, arn).await {
        Execution::Ended(how) => Some(how),
        Execution::Gone => Some("its execution is gone".to_owned()),
        Execution::Going => None,
    }
}

async fn expire(app: &App) -> StepResult<usize> {
    let connection = app.db.connection().await?;
    let waits = sweep::expired(client(&connection), app.config.approval_timeout + EXPIRY_GRACE).await?;
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
    let closed = close::close(&mut connection, job, attempt, &ending).await?;
    drop(connection);
    let Some(closed) = closed else { return Ok(false) };
    deliver(app, &closed.messages).await;
    Ok(!closed.messages.is_empty())
}

async fn drop_staging(app: &App) -> StepResult<usize> {
    let mut connection = app.db.connection().await?;
    Ok(sweep::drop_stale_staging(&mut connection, app.config.staging_retention_days).await?)
}
