//! Whether an execution is over.

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
use shared::edge::App;

pub enum Execution {
    /// At work; or nobody could say, and the next sweep asks again.
    Going,
    /// Over, in words.
    Ended(String),
    /// There is none of this name: not begun yet, or forgotten.
    Gone,
}

pub async fn look(app: &App, arn: &str) -> Execution {
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
