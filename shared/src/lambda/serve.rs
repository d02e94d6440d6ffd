//! `main` of a step: logs, configuration and clients once, then one invocation after the other.

use super::app::App;
use super::delay;
use crate::db::{DbError, Usage, jobs, outage};
use crate::domain::json::Document;
use crate::domain::remark::shorten;
use crate::domain::step::{MAX_MESSAGE_BYTES, StepError, StepErrorKind, StepResult, list_causes};
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing_subscriber::filter::LevelFilter;

/// The time that an invocation has left.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    deadline: SystemTime,
}

/// Time that is kept back to roll back, to record and to answer.
const RESERVE: Duration = Duration::from_secs(5);

impl Budget {
    /// How long a function with this time limit has for work.
    pub fn within(timeout: Duration) -> Duration {
        timeout.saturating_sub(RESERVE)
    }

    /// The time until this instant, when Lambda ends the invocation.
    pub fn until(deadline: SystemTime) -> Self {
        Self { deadline }
    }

    /// So much time, from now.
    pub fn of(left: Duration) -> Self {
        Self { deadline: SystemTime::now() + left + RESERVE }
    }

    /// The time that is left for work: a second at least, since a limit of 0 means no limit.
    pub fn left(&self) -> Duration {
        let left = self.deadline.duration_since(SystemTime::now()).unwrap_or_default();
        left.saturating_sub(RESERVE).max(Duration::from_secs(1))
    }
}

/// Begins to log as Lambda's logging controls ask for: at `AWS_LAMBDA_LOG_LEVEL`, else `RUST_LOG`, else INFO; as JSON if
/// `AWS_LAMBDA_LOG_FORMAT` says so. The level is for the whole program: directives for parts of it are not understood.
pub fn init_logs() {
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
    let app = App::from_env(Usage::step(connections)).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Document>| {
        let (app, handler) = (app.clone(), &handler);
        async move {
            let budget = Budget::until(UNIX_EPOCH + Duration::from_millis(event.context.deadline));
            let payload = event.payload.into_value().map_err(|error| StepError::invalid(error.to_string()));
            let answer = async { invoke(app, payload?, budget, handler).await }.await;
            answer.inspect(|_| outage::end()).map_err(|error| report(&error))
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
    let worked_on = delay::read(&payload);
    let input = parse(payload)?;
    let Some(on) = worked_on else {
        app.db.ping().await?;
        return handler(app, input, budget).await;
    };
    let delayed = jobs::delay::find(&app.db, &on).await?;
    let done = handler(app.clone(), input, budget).await;
    delay::note(&app, &on, delayed, &done).await;
    done
}

fn parse<I: DeserializeOwned>(payload: serde_json::Value) -> StepResult<I> {
    serde_path_to_error::deserialize(payload)
        .map_err(|error| StepError::invalid(format!("input: `{}`: {}", error.path(), error.inner())))
}

/// Logs an error with its causes, an outage of the database once a minute, and turns it into what the runtime sends.
fn report(error: &StepError) -> Diagnostic {
    let (error_type, causes) = (error.kind.as_str(), list_causes(error));
    let message = shorten(&error.message, MAX_MESSAGE_BYTES);
    let causes = shorten(&causes, MAX_MESSAGE_BYTES);
    match (DbError::of_step(error).filter(|cause| cause.is_outage()), error.kind) {
        (Some(cause), _) => outage::note(cause),
        (_, StepErrorKind::Internal) => tracing::error!(error_type, %message, %causes, "step failed"),
        _ => tracing::warn!(error_type, %message, %causes, "step stopped"),
    }
    Diagnostic { error_type: error.kind.as_str().to_owned(), error_message: message.into_owned() }
}
