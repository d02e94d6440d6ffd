//! Looks up many executions at a time.

use futures_util::stream::{self, StreamExt};
use shared::lambda::App;
use shared::lambda::executions::{Execution, find};

/// Look-ups under way at a time.
const AT_A_TIME: usize = 10;

/// Looks up the executions of jobs or tasks, and keeps their order. One without an ARN counts as gone. All are looked up before any
/// is ended: a look-up that has to wait for that would run out of time.
pub(crate) async fn look_up<T>(
    app: &App,
    all: Vec<T>,
    arn: impl Fn(&T) -> Option<String>,
) -> Vec<(T, Execution)> {
    let looks = all.into_iter().map(|one| (arn(&one), one)).map(async |(arn, one)| match arn {
        Some(arn) => (one, find(app, &arn).await),
        None => (one, Execution::Gone),
    });
    stream::iter(looks).buffered(AT_A_TIME).collect().await
}
