//! A step of the state machine `maintenance`: what it is called with, and giving a task up when its step failed for
//! good.

use super::app::App;
use crate::db::pool::client;
use crate::db::tasks;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::step::StepResult;
use serde::Deserialize;
use serde_json::{Value, json};

/// What a state machine caught: `Error` is the step's `errorType`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Caught {
    pub error: String,
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
    }

    /// That, or whatever else is known.
    pub fn words(&self) -> String {
        self.message().unwrap_or_else(|| {
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
    pub task_id: TaskId,
    pub job_id: JobId,
    #[serde(default)]
    pub error: Option<Caught>,
}

/// Ends the task as failed. A rollback gives its lease back; what it may have committed stays.
pub async fn give_up(app: &App, task: TaskId, caught: &Caught) -> StepResult<Value> {
    let connection = app.db.connection().await?;
    let cause = caught.words();
    let given_up = tasks::give_up(client(&connection), task, &cause).await?;
    // Somebody else has ended it: this execution was not the one that is waited for.
    let error = if given_up { caught.error.as_str() } else { "Superseded" };
    Ok(json!({ "task_id": task, "error": error, "cause": cause }))
}
