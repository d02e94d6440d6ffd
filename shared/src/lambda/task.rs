//! A step of the state machine `maintenance`: its input, and giving up a task whose step failed for good.

use super::app::App;
use super::deliver::deliver;
use crate::db::tasks;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::remark::shorten;
use crate::domain::step::{MAX_MESSAGE_BYTES, StepResult};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a state machine caught: `Error` is the step's `errorType`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Caught {
    /// The step's `errorType`.
    pub error: String,
    /// Lambda's envelope with the message, or a text.
    #[serde(default)]
    pub cause: String,
}

impl Caught {
    /// The step's message without Lambda's envelope, where there is one.
    pub fn message(&self) -> Option<String> {
        serde_json::from_str::<Value>(&self.cause)
            .ok()
            .and_then(|cause| cause.get("errorMessage").and_then(Value::as_str).map(str::to_owned))
            .filter(|message| !message.is_empty())
            .map(|message| shorten(&message, MAX_MESSAGE_BYTES).into_owned())
    }

    /// What happened and what to do, or what else is known.
    pub fn describe(&self) -> String {
        match (self.error.as_str(), self.message()) {
            ("Transient", Some(message)) => {
                return format!("{message}; it was repeated until the time was up. Try again when the cause is gone");
            }
            ("Runtime.ExitError" | "Sandbox.Timedout" | "Lambda.Unknown", Some(message)) => {
                return format!("the function was killed or ran out of memory or time ({message}); its log says why. Try again");
            }
            (_, message) => message,
        }
        .unwrap_or_else(|| {
            let cause: String = self.cause.chars().take(500).collect();
            match cause.is_empty() {
                true => format!("the step ended with {}", self.error),
                false => format!("the step ended with {}: {cause}", self.error),
            }
        })
    }
}

/// One task; with `error`, what its step has failed with for good.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskInput {
    /// The task.
    pub task_id: TaskId,
    /// The import that it is about.
    pub job_id: JobId,
    /// What its step failed with for good.
    #[serde(default)]
    pub error: Option<Caught>,
}

/// Ends the task as failed. A rollback gives its lease back; what it may have committed stays.
pub async fn give_up(app: &App, task: TaskId, caught: &Caught) -> StepResult<Value> {
    let connection = app.db.connection().await?;
    let cause = caught.describe();
    let given_up = tasks::give_up(&connection, task, Some(&caught.error), &cause).await?;
    drop(connection);
    // Somebody else has ended the task: nobody waits for this execution.
    let error = if given_up.is_some() { caught.error.as_str() } else { "Superseded" };
    deliver(app, given_up.unwrap_or_default()).await;
    Ok(json!({ "task_id": task, "error": error, "cause": cause }))
}
