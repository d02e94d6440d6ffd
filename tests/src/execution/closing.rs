//! The ends of an execution.

use super::{Run, budget};
use serde_json::json;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepResult};

impl Run {
    pub async fn close(&self, note: Option<String>) -> StepResult<close_import::Output> {
        close_import::handle(self.app.clone(), self.close_input(note), budget()).await
    }

    pub(super) fn close_input(&self, note: Option<String>) -> close_import::Input {
        close_import::Input {
            execution_arn: self.execution_arn.clone(),
            job_id: Some(self.job),
            attempt: Some(self.attempt),
            note,
            error: None,
            continued: false,
        }
    }

    /// Closes the job as `CloseStopped` does: it sends the error in Lambda's envelope and no job id.
    pub async fn close_stopped(&self, error: &StepError) -> StepResult<Option<Status>> {
        let cause = json!({ "errorType": error.kind.as_str(), "errorMessage": error.message }).to_string();
        self.close_caught(error.kind.as_str(), &cause).await.map(|output| output.status)
    }

    pub async fn close_caught(&self, error: &str, cause: &str) -> StepResult<close_import::Output> {
        let input = close_import::Input {
            execution_arn: self.execution_arn.clone(),
            job_id: None,
            attempt: None,
            note: None,
            error: Some(close_import::Caught { error: error.into(), cause: cause.into() }),
            continued: false,
        };
        close_import::handle(self.app.clone(), input, budget()).await
    }
}
