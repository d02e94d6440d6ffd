//! Validates an import: adds up, checks staging and production once more, decides. Called again with a task token
//! it parks the job until a person approves.

use serde::{Deserialize, Serialize};
use shared::db::validate::{self, Validation};
use shared::domain::ids::JobId;
use shared::domain::step::StepResult;
use shared::edge::deliver::deliver;
use shared::edge::{App, Budget};

/// One attempt of a job; with a token, the wait for its approval.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    pub attempt: i32,
    #[serde(default)]
    pub task_token: Option<String>,
}

/// The decision, or that the job waits.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Output {
    Validated(Box<Validation>),
    Waiting { job_id: JobId, status: &'static str },
}

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let Some(token) = input.task_token else {
        let validation = validate::validate(&app.db, input.job_id, input.attempt, budget.left()).await?;
        return Ok(Output::Validated(Box::new(validation)));
    };
    let messages = validate::await_approval(&app.db, input.job_id, input.attempt, &token).await?;
    deliver(&app, &messages).await;
    Ok(Output::Waiting { job_id: input.job_id, status: "awaiting_approval" })
}
