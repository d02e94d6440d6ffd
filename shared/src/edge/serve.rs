//! `main` of every function: logs, configuration and clients once, then one invocation after the other.

use super::app::App;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing_subscriber::filter::LevelFilter;

/// The time that an invocation has left.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    deadline: SystemTime,
}

/// Kept back to roll back, record and answer.
const RESERVE: Duration = Duration::from_secs(5);

impl Budget {
    pub fn until(deadline: SystemTime) -> Self {
        Self { deadline }
    }

    pub fn of(left: Duration) -> Self {
        Self { deadline: SystemTime::now() + left + RESERVE }
    }

    /// What is left for work; a second at least, so that limits made of it are never "none".
    pub fn left(&self) -> Duration {
        let left = self.deadline.duration_since(SystemTime::now()).unwrap_or_default();
        left.saturating_sub(RESERVE).max(Duration::from_secs(1))
    }
}

/// Logs as Lambda's logging controls want them: at `AWS_LAMBDA_LOG_LEVEL`, or else `RUST_LOG`, or else INFO; as JSON if
/// `AWS_LAMBDA_LOG_FORMAT` says so. A level for all: directives for parts of a program are not understood.
fn init_logs() {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let level = |name| match text(name)?.as_str() {
        "FATAL" => Some(LevelFilter::ERROR),
        level => level.parse().ok(),
    };
    let level = level("AWS_LAMBDA_LOG_LEVEL").or_else(|| level("RUST_LOG")).unwrap_or(LevelFilter::INFO);
    // Lambda adds the time to each line.
    let logs = tracing_subscriber::fmt().with_target(false).without_time().with_max_level(level);
    match text("AWS_LAMBDA_LOG_FORMAT") {
        Some(format) if format.eq_ignore_ascii_case("json") => logs.json().init(),
        _ => logs.init(),
    }
}

/// Serves a step of the state machine. Each error is logged here, once, with its causes; the state machine gets the
/// stable name and the message.
pub async fn serve_step<I, O, F, Fut>(connections: usize, handler: F) -> Result<(), Error>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Fn(App, I, Budget) -> Fut,
    Fut: Future<Output = StepResult<O>>,
{
    init_logs();
    let app = App::from_env(connections).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<serde_json::Value>| {
        let (app, handler) = (app.clone(), &handler);
        async move {
            let budget = Budget::until(UNIX_EPOCH + Duration::from_millis(event.context.deadline));
            invoke(app, event.payload, budget, handler).await.map_err(|error| report(&error))
        }
    }))
    .await
}

/// One invocation of a step. Its connections may have died while the environment was frozen: the first statement, which
/// only looks, finds out.
pub async fn invoke<I, O, F, Fut>(
    app: App,
    payload: serde_json::Value,
    budget: Budget,
    handler: F,
) -> StepResult<O>
where
    I: DeserializeOwned,
    F: Fn(App, I, Budget) -> Fut,
    Fut: Future<Output = StepResult<O>>,
{
    let input = parse(payload)?;
    app.db.ping().await?;
    handler(app, input, budget).await
}

/// Serves the HTTP API.
pub async fn serve_http<F, Fut>(handler: F) -> Result<(), Error>
where
    F: Fn(App, lambda_http::Request) -> Fut + Sync,
    Fut: Future<Output = super::http::Answer> + Send,
{
    init_logs();
    let app = App::from_env(1).await?;
    lambda_http::run(service_fn(|request: lambda_http::Request| {
        let (app, handler) = (app.clone(), &handler);
        async move {
            let id = super::http::request_id(&request);
            let answer = handler(app, request).await;
            Ok::<_, std::convert::Infallible>(super::http::render(answer, &id))
        }
    }))
    .await
}

fn parse<I: DeserializeOwned>(payload: serde_json::Value) -> StepResult<I> {
    serde_path_to_error::deserialize(payload)
        .map_err(|error| StepError::invalid(format!("input: `{}`: {}", error.path(), error.inner())))
}

/// Logs an error with its causes and turns it into what the runtime sends.
fn report(error: &StepError) -> Diagnostic {
    let causes = causes(error);
    match error.kind {
        StepErrorKind::Internal => {
            tracing::error!(error_type = error.kind.as_str(), message = %error, causes, "step failed")
        }
        _ => tracing::warn!(error_type = error.kind.as_str(), message = %error, causes, "step stopped"),
    }
    Diagnostic { error_type: error.kind.as_str().to_owned(), error_message: error.message.clone() }
}

/// The chain of causes below an error, in one line.
pub fn causes(error: &dyn StdError) -> String {
    let mut chain = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        chain.push(cause.to_string());
        next = cause.source();
    }
    chain.join(": ")
}
