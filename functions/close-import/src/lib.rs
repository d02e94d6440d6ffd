//! Ends an import: completed, failed, cancelled or expired. It gives the lease to the next in line and announces the end. Everything
//! that stops an execution leads here, so that no job is left hanging; also what goes on in another execution.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::db::jobs::{self, Ending};
use shared::db::outbox::Promises;
use shared::domain::execution;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::StepResult;
use shared::lambda::deliver::deliver;
pub use shared::lambda::task::Caught;
use shared::lambda::{App, Budget, Config};

/// The execution; its job, where it is known; and what went wrong, if anything did.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub execution_arn: String,
    #[serde(default)]
    pub job_id: Option<JobId>,
    #[serde(default)]
    pub attempt: Option<i32>,
    #[serde(default)]
    pub note: Option<String>,
    #[serde(default)]
    pub error: Option<Caught>,
    /// The step that failed has handed the import over to its next attempt.
    #[serde(default)]
    pub continued: bool,
}

/// What the job is now, and the error that the execution ends with.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    pub job_id: Option<JobId>,
    /// `None`: the execution never had a job.
    pub status: Option<Status>,
    pub error: String,
    pub cause: String,
    /// The execution that goes on, if another one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
}

/// How many connections to the database it holds. The step does one thing at a time.
pub const CONNECTIONS: usize = 1;

/// The handler.
pub async fn handle(app: App, input: Input, _budget: Budget) -> StepResult<Output> {
    if let (true, Some(job), Some(attempt)) = (input.continued, input.job_id, input.attempt) {
        return hand_over(app, job, attempt, &input.execution_arn).await;
    }
    let mut connection = app.db.connection().await?;
    let job = match (input.job_id, input.attempt) {
        (Some(job), Some(attempt)) => Some((job, attempt)),
        // Opening failed before it could say which job it is.
        _ => jobs::find_by_execution(&connection, &input.execution_arn).await?,
    };
    let (error, cause) = input.error.as_ref().map(describe).unwrap_or_default();
    let Some((job, attempt)) = job else {
        return Ok(Output { job_id: None, status: None, error, cause, execution: None });
    };
    let ending = match &input.error {
        None => Ending::Completed { note: input.note.clone() },
        Some(_) => Ending::Stopped {
            status: choose_status(&error),
            message: Some(cause.clone()),
            errors: list_errors(&error, &cause),
            only_waiting: false,
        },
    };
    let closed = jobs::close(&mut connection, job, attempt, &ending).await?;
    drop(connection);
    let status = match closed {
        Some(closed) => {
            deliver(&app, closed.promises).await;
            Some(closed.status)
        }
        None => None,
    };
    Ok(Output { job_id: Some(job), status, error, cause, execution: None })
}

/// Starts the next attempt, which the step that failed has promised. If this comes to nothing, the sweep does it.
async fn hand_over(app: App, job: JobId, attempt: i32, execution_arn: &str) -> StepResult<Output> {
    let connection = app.db.connection().await?;
    let promises = Promises::of_start(&connection, job).await?;
    let status = jobs::find(&connection, job).await?.map(|job| job.status);
    drop(connection);
    // A variable of this function can't name the state machine, which names the function.
    let machine = execution::machine_of(execution_arn);
    let execution = Some(execution::arn(&machine, &execution::name_of_attempt(job, attempt + 1)));
    let config = Config { state_machine_arn: Some(machine), ..app.config.clone() };
    deliver(&App { config, ..app }, promises).await;
    Ok(Output { job_id: Some(job), status, error: String::new(), cause: String::new(), execution })
}

/// The error's name and its message.
fn describe(caught: &Caught) -> (String, String) {
    let message = match (caught.error.as_str(), caught.message()) {
        ("States.Timeout", None) => "nobody approved the import in time".to_owned(),
        _ => caught.describe(),
    };
    (caught.error.clone(), message)
}

fn choose_status(error: &str) -> Status {
    match error {
        "Cancelled" => Status::Cancelled,
        "States.Timeout" => Status::Expired,
        _ => Status::Failed,
    }
}

/// What `validation_errors` says, where the step has not said more.
fn list_errors(error: &str, cause: &str) -> Value {
    match error {
        "InvalidInput" | "ImportInProgress" | "TimeBudgetExceeded" => {
            json!([{ "reason": error, "detail": cause }])
        }
        _ => json!([]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_lambdas_envelope() {
        let caught = |error: &str, cause: &str| Caught { error: error.into(), cause: cause.into() };
        let envelope = json!({ "errorType": "InvalidInput", "errorMessage": "no such merchant" }).to_string();
        assert_eq!(describe(&caught("InvalidInput", &envelope)).1, "no such merchant");
        assert_eq!(describe(&caught("States.Timeout", "")).1, "nobody approved the import in time");
        assert_eq!(describe(&caught("Lambda.Unknown", "")).1, "the step ended with Lambda.Unknown");
        assert_eq!(describe(&caught("X", "plain")).1, "the step ended with X: plain");
    }
}
