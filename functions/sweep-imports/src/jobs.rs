//! Ends imports whose execution is over without having closed them, and waits that nobody has answered in time.

use crate::executions::look_up;
use crate::{EXPIRY_GRACE, MOST, SILENT, Tally};
use serde_json::json;
use shared::db::jobs::{self, Ending, UnfinishedJob};
use shared::db::outbox::{Message, is_on_its_way};
use shared::domain::execution;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::StepResult;
use shared::lambda::App;
use shared::lambda::deliver::deliver;
use shared::lambda::executions::Execution;

/// Ends the imports whose execution is over.
pub(crate) async fn close_dead(app: &App) -> Tally {
    let mut tally = Tally::of("dead executions");
    let unfinished = async { jobs::take_unfinished(&app.db.connection().await?, SILENT, MOST).await };
    let unfinished = tally.list(unfinished.await);
    for (job, execution) in look_up(app, unfinished, |job| find_arn(app, job)).await {
        tally.add(job.job, close(app, &job, execution).await);
    }
    tally
}

/// The execution that has opened the import; before that, the one that the outbox starts for it.
fn find_arn(app: &App, job: &UnfinishedJob) -> Option<String> {
    let started = |machine| execution::arn(machine, &execution::name_of_attempt(job.job, job.attempt));
    job.execution_arn.clone().or_else(|| app.config.state_machine_arn.as_deref().map(started))
}

/// Ends the import, if its execution is over.
async fn close(app: &App, job: &UnfinishedJob, execution: Execution) -> StepResult<bool> {
    let how = match execution {
        Execution::Going | Execution::Unknown => return Ok(false),
        Execution::Ended(how) => how,
        Execution::Gone if job.execution_arn.is_none() && is_starting(app, job).await? => return Ok(false),
        Execution::Gone => "its execution is gone".to_owned(),
    };
    if go_on(app, job).await? {
        return Ok(false);
    }
    end(app, job.job, job.attempt, &Ending::failed(&how)).await
}

/// Starts the next attempt of an import that was approved, and whose execution was over before it heard of it.
async fn go_on(app: &App, job: &UnfinishedJob) -> StepResult<bool> {
    let Some(execution) = &job.execution_arn else { return Ok(false) };
    let connection = app.db.connection().await?;
    let next = jobs::begin_next_attempt(&connection, job.job, job.attempt, execution).await?;
    drop(connection);
    let Some(promises) = next else { return Ok(false) };
    deliver(app, promises).await;
    Ok(true)
}

/// Whether the outbox starts its execution, or did so only now.
async fn is_starting(app: &App, job: &UnfinishedJob) -> StepResult<bool> {
    let start = Message::StartExecution { attempt: job.attempt };
    Ok(is_on_its_way(&app.db.connection().await?, job.job, &start).await?)
}

/// Ends the waits that are over.
pub(crate) async fn expire(app: &App) -> Tally {
    let mut tally = Tally::of("expired waits");
    let after = app.config.approval_timeout + EXPIRY_GRACE;
    let overdue = async { jobs::take_overdue(&app.db.connection().await?, after).await };
    for (job, attempt) in tally.list(overdue.await) {
        let expired = Ending::Stopped {
            status: Status::Expired,
            message: Some("nobody approved the import in time".into()),
            errors: json!([]),
            only_waiting: true,
        };
        tally.add(job, end(app, job, attempt, &expired).await);
    }
    tally
}

/// Whether this was the import's end.
async fn end(app: &App, job: JobId, attempt: i32, ending: &Ending) -> StepResult<bool> {
    let mut connection = app.db.connection().await?;
    let closed = jobs::close(&mut connection, job, attempt, ending).await?;
    drop(connection);
    let Some(closed) = closed else { return Ok(false) };
    let ended = !closed.promises.is_empty();
    deliver(app, closed.promises).await;
    Ok(ended)
}
