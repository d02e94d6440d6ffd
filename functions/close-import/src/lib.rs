//! Ends an import: completed, failed, cancelled or expired. Gives back the lease and announces the end. Whatever
//! stopped the execution comes here, so that no job is left hanging.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::db::close::{self, Ending};
use shared::db::jobs;
use shared::db::pool::client;
use shared::domain::ids::JobId;
use shared::domain::job::Status;
use shared::domain::step::StepResult;
use shared::edge::deliver::deliver;
pub use shared::edge::task::Caught;
use shared::edge::{App, Budget};

/// The job where it is known, always the execution, and what went wrong if anything did.
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
}

/// What the job is now, and the words that the execution ends with.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    pub job_id: Option<JobId>,
    /// `None`: the execution never had a job.
    pub status: Option<Status>,
    pub error: String,
    pub cause: String,
}

/// The handler.
pub async fn handle(app: App, input: Input, _budget: Budget) -> StepResult<Output> {
    let mut connection = app.db.connection().await?;
    let job = match (input.job_id, input.attempt) {
        (Some(job), Some(attempt)) => Some((job, attempt)),
        // Opening failed before it could say which job it is.
        _ => jobs::of_execution(client(&connection), &input.execution_arn).await?,
    };
    let (error, cause) = input.error.as_ref().map(reason).unwrap_or_default();
    let Some((job, attempt)) = job else {
        return Ok(Output { job_id: None, status: None, error, cause });
    };
    let ending = match &input.error {
        None => Ending::Completed { note: input.note.clone() },
        Some(_) => Ending::Stopped {
            status: status_of(&error),
            message: Some(cause.clone()),
            errors: errors(&error, &cause),
            only_waiting: false,
        },
    };
    let closed = close::close(&mut connection, job, attempt, &ending).await?;
    drop(connection);
    let status = match closed {
        Some(closed) => {
            deliver(&app, &closed.messages).await;
            Some(closed.status)
        }
        None => None,
    };
    Ok(Output { job_id: Some(job), status, error, cause })
}

/// The error's name and its message.
fn reason(caught: &Caught) -> (String, String) {
    let message = match (caught.error.as_str(), caught.message()) {
        ("States.Timeout", None) => "nobody approved the import in time".to_owned(),
        _ => caught.words(),
    };
    (caught.error.clone(), message)
}

fn status_of(error: &str) -> Status {
    match error {
        "Cancelled" => Status::Cancelled,
        "States.Timeout" => Status::Expired,
        _ => Status::Failed,
    }
}

/// For `validation_errors`, where the step has left none that say more.
fn errors(error: &str, cause: &str) -> Value {
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
    fn finds_the_message_in_lambdas_envelope() {
        let caught = |error: &str, cause: &str| Caught { error: error.into(), cause: cause.into() };
        let envelope = json!({ "errorType": "InvalidInput", "errorMessage": "no such merchant" }).to_string();
        assert_eq!(reason(&caught("InvalidInput", &envelope)).1, "no such merchant");
        assert_eq!(reason(&caught("States.Timeout", "")).1, "nobody approved the import in time");
        assert_eq!(reason(&caught("Lambda.Unknown", "")).1, "the step ended with Lambda.Unknown");
        assert_eq!(reason(&caught("X", "plain")).1, "the step ended with X: plain");
    }
}
