//! Finds out whether executions are over.

use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sfn::types::ExecutionStatus;
use futures_util::stream::{self, Stream, StreamExt};
use shared::lambda::App;

/// Look-ups under way at a time.
const AT_A_TIME: usize = 10;

/// Where an execution stands.
pub(crate) enum Execution {
    /// At work; or unknown, and the next sweep asks again.
    Going,
    /// Over, and how.
    Ended(String),
    /// There is none of this name: it has not begun, or Step Functions has forgotten it.
    Gone,
}

/// Looks up the executions of jobs or tasks, in their order. One without an ARN counts as gone.
pub(crate) fn look_up<T>(
    app: &App,
    all: Vec<T>,
    arn: impl Fn(&T) -> Option<String>,
) -> impl Stream<Item = (T, Execution)> {
    let looks = all.into_iter().map(move |one| (arn(&one), one)).map(async |(arn, one)| match arn {
        Some(arn) => (one, find(app, &arn).await),
        None => (one, Execution::Gone),
    });
    stream::iter(looks).buffered(AT_A_TIME)
}

async fn find(app: &App, arn: &str) -> Execution {
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
            Execution::Going
        }
    }
}
