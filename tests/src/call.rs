//! One call of a function as data: the function's name and its input, so that any process can make it.

use crate::http::{receive, request, with_key};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::db::Usage;
use shared::domain::step::{StepErrorKind, StepResult};
use shared::lambda::serve::invoke;
use shared::lambda::{App, Budget};

/// A step's function with its input, or an HTTP function with its request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    pub function: String,
    /// Of an HTTP function: `method`, `path`, `subject`, `body` as text, `key`.
    pub input: Value,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A step's output.
    Done(Value),
    /// A step's error.
    Stopped { kind: StepErrorKind, message: String },
    /// The answer to an HTTP request.
    Response { status: u16, body: Value },
}

impl Answer {
    /// Whether the state machine, or the client, repeats the call.
    pub fn is_to_be_repeated(&self) -> bool {
        match self {
            Self::Done(_) => false,
            Self::Stopped { kind, .. } => *kind == StepErrorKind::Transient,
            Self::Response { status, .. } => *status == 503,
        }
    }

    /// Whether the call came to what it was made for.
    pub fn is_success(&self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Stopped { .. } => false,
            Self::Response { status, .. } => (200..300).contains(status),
        }
    }
}

impl Call {
    pub fn step(function: &str, input: Value) -> Self {
        Self { function: function.to_owned(), input }
    }

    /// A request of the user with this `sub`.
    pub fn request(function: &str, method: &str, path: &str, subject: &str, body: &Value) -> Self {
        let input = json!({ "method": method, "path": path, "subject": subject, "body": body.to_string() });
        Self { function: function.to_owned(), input }
    }

    /// The same request with an `Idempotency-Key`.
    pub fn with_key(mut self, key: &str) -> Self {
        self.input["key"] = json!(key);
        self
    }

    /// The same call with more members in its input.
    pub fn with(mut self, more: Value) -> Self {
        if let (Value::Object(input), Value::Object(more)) = (&mut self.input, more) {
            input.extend(more);
        }
        self
    }

    pub fn is_request(&self) -> bool {
        self.input.get("method").is_some()
    }

    /// How the function uses the database, as its `main` says.
    pub fn usage(&self) -> Usage {
        Usage::step(match self.function.as_str() {
            "open-import" => open_import::CONNECTIONS,
            "load-staging" => load_staging::CONNECTIONS,
            "mark-duplicates" => mark_duplicates::CONNECTIONS,
            "validate-import" => validate_import::CONNECTIONS,
            "insert-codes" => insert_codes::CONNECTIONS,
            "verify-import" => verify_import::CONNECTIONS,
            "close-import" => close_import::CONNECTIONS,
            "rollback-import" => rollback_import::CONNECTIONS,
            "export-report" => export_report::CONNECTIONS,
            "sweep-imports" => sweep_imports::CONNECTIONS,
            "expire-idempotency-keys" => expire_idempotency_keys::CONNECTIONS,
            "migrate" => migrate::CONNECTIONS,
            _ => return Usage::http(),
        })
    }

    /// Makes the call as the runtime of Lambda does.
    pub async fn make(&self, app: App, budget: Budget) -> Answer {
        let input = self.input.clone();
        match self.function.as_str() {
            // Boxed: the compiler bounds how deep futures are nested.
            "open-import" => Box::pin(step(app, input, budget, open_import::handle)).await,
            "load-staging" => Box::pin(step(app, input, budget, load_staging::handle)).await,
            "mark-duplicates" => Box::pin(step(app, input, budget, mark_duplicates::handle)).await,
            "validate-import" => Box::pin(step(app, input, budget, validate_import::handle)).await,
            "insert-codes" => Box::pin(step(app, input, budget, insert_codes::handle)).await,
            "verify-import" => Box::pin(step(app, input, budget, verify_import::handle)).await,
            "close-import" => Box::pin(step(app, input, budget, close_import::handle)).await,
            "rollback-import" => Box::pin(step(app, input, budget, rollback_import::handle)).await,
            "export-report" => Box::pin(step(app, input, budget, export_report::handle)).await,
            "sweep-imports" => Box::pin(step(app, input, budget, sweep_imports::handle)).await,
            "expire-idempotency-keys" => {
                Box::pin(step(app, input, budget, expire_idempotency_keys::handle)).await
            }
            "migrate" => Box::pin(step(app, input, budget, migrate::handle)).await,
            _ => Box::pin(self.send(app)).await,
        }
    }

    async fn send(&self, app: App) -> Answer {
        let text = |name: &str| self.input[name].as_str().unwrap_or_default();
        let mut request = request(text("method"), text("path"), Some(text("subject")), text("body"));
        if let Some(key) = self.input["key"].as_str() {
            request = with_key(request, key);
        }
        let answer = match self.function.as_str() {
            "create-community" => create_community::handle(app, request).await,
            "join-community" => join_community::handle(app, request).await,
            "queue-processing" => queue_processing::handle(app, request).await,
            "run-migration" => run_migration::handle(app, request).await,
            "import-jobs" => import_jobs::handle(app, request).await,
            other => panic!("no function is named {other}"),
        };
        let response = receive(answer);
        Answer::Response { status: response.status, body: response.body }
    }
}

async fn step<I, O, F, Fut>(app: App, input: Value, budget: Budget, handler: F) -> Answer
where
    I: DeserializeOwned,
    O: Serialize,
    F: Fn(App, I, Budget) -> Fut,
    Fut: Future<Output = StepResult<O>>,
{
    match invoke(app, input, budget, handler).await {
        Ok(output) => Answer::Done(json!(output)),
        Err(error) => Answer::Stopped { kind: error.kind, message: error.message },
    }
}
