//! Verifies an import: count, checksum and accounting against what is in production. Once before the import is
//! completed, and again whenever somebody asks.

use serde::Deserialize;
use serde_json::{Value, json};
use shared::db::pool::client;
use shared::db::tasks::{self, Begun};
use shared::db::verify;
use shared::domain::ids::{JobId, TaskId};
use shared::domain::step::StepResult;
use shared::domain::task::Action;
use shared::edge::serve::causes;
use shared::edge::task::{Caught, give_up};
use shared::edge::{App, Budget};
use tracing::{error, warn};

/// A job whose codes are in; the task, if somebody asked for this; and what the step failed with, to give it up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    #[serde(default)]
    pub task_id: Option<TaskId>,
    #[serde(default)]
    pub error: Option<Caught>,
}

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Value> {
    if let (Some(task), Some(caught)) = (input.task_id, &input.error) {
        return give_up(&app, task, caught).await;
    }
    if let Some(task) = input.task_id {
        let connection = app.db.connection().await?;
        if let Begun::Done(result) = tasks::begin_step(client(&connection), task, Action::Verify).await? {
            return Ok(result);
        }
    }
    // Housekeeping beside it, on the other connection: the next marking reads the index alone. Nothing depends on it.
    let (verification, vacuumed) = tokio::join!(
        verify::verify(&app.db, input.job_id, input.task_id, budget.left()),
        verify::vacuum(&app.db, budget.left()),
    );
    if let Err(error) = vacuumed {
        warn!(message = %error, causes = causes(&error), "VACUUM is left to autovacuum");
    }
    let verification = verification?;
    if !verification.verified {
        error!(job_id = %input.job_id, problems = ?verification.problems, "verification failed");
    }
    if let Err(error) = verify::count_merchant(&app.db, input.job_id, budget.left()).await {
        warn!(message = %error, causes = causes(&error), "the merchant's codes were not counted");
    }
    Ok(json!(verification))
}
