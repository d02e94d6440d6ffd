//! Finds out whether an execution is over.

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
use shared::lambda::App;

/// Where an execution stands.
pub(crate) enum Execution {
    /// At work; or unknown, and the next sweep asks again.
    Going,
    /// Over, and how.
    Ended(String),
    /// There is none of this name: it has not begun, or Step Functions has forgotten it.
    Gone,
}

/// Looks an execution up.
pub(crate) async fn find(app: &App, arn: &str) -> Execution {
    match app.clients.states().describe_execution().execution_arn(arn).send().await {
        Ok(execution) if *execution.status() == ExecutionStatus::Running => Execution::Going,
        Ok(execution) => {
            let error = execution.error().unwrap_or("no error");
            let status = execution.status().as_str();
            Execution::Ended(format!("its execution ended ({status}, {error}) without closing it"))
        }
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Execution::Gone,
        Err(error) => {
            let error = aws_sdk_sfn::error::DisplayErrorContext(error);
            tracing::warn!(arn, %error, "execution could not be looked up");
            Execution::Going
        }
    }
}
