//! Finds out whether an execution is over.

use super::app::App;
use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sfn::types::ExecutionStatus;

/// Where an execution stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Execution {
    /// At work.
    Going,
    /// Over, and how.
    Ended(String),
    /// There is none of this name: it has not begun, or Step Functions has forgotten it.
    Gone,
    /// It could not be looked up.
    Unknown,
}

/// Looks an execution up.
pub async fn find(app: &App, arn: &str) -> Execution {
    match app.clients.states().describe_execution().execution_arn(arn).send().await {
        Ok(execution) if *execution.status() == ExecutionStatus::Running => Execution::Going,
        Ok(execution) => {
            let error = execution.error().unwrap_or("no error");
            let status = execution.status().as_str();
            Execution::Ended(format!("its execution ended ({status}, {error}) without closing it"))
        }
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Execution::Gone,
        Err(error) => {
            let error = DisplayErrorContext(error);
            tracing::warn!(arn, %error, "execution could not be looked up");
            Execution::Unknown
        }
    }
}
