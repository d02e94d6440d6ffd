//! Starts imports again that have no job: events that EventBridge could not deliver, and the inputs of executions that could not
//! register a job, as the state machine has kept them. A message is deleted once its import is started.

use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::Message;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::db::jobs;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::App;

/// The most messages that SQS hands out at a time.
const BATCH: i32 = 10;
/// Batches of one sweep. The next sweep goes on.
const BATCHES: usize = 20;
/// The longest name of an execution (AWS Step Functions API Reference, "StartExecution").
const NAME: usize = 80;
/// Stands before the number of the start in the name of an execution that was started again. `KeepUnregistered` of the state
/// machine looks for it.
const AGAIN: &str = "-again-";

/// What is to be started.
#[derive(Debug, PartialEq)]
struct Unregistered {
    /// The execution that could not register a job; none if EventBridge could not start one.
    execution_arn: Option<String>,
    /// The name under which it is started now.
    name: String,
    input: Value,
}

/// Starts what waits in the queue, and returns how much that was. A message that can't be started stays, and is named.
pub(crate) async fn start_again(app: &App) -> StepResult<usize> {
    let Some(url) = app.config.unregistered_imports_url.as_deref() else { return Ok(0) };
    let queue = aws_sdk_sqs::Client::new(app.clients.aws());
    let (mut started, mut left) = (0, Vec::new());
    for _ in 0..BATCHES {
        let received = queue.receive_message().queue_url(url).max_number_of_messages(BATCH).send().await;
        let messages =
            received.map_err(|error| later("sqs:ReceiveMessage", error))?.messages.unwrap_or_default();
        if messages.is_empty() {
            break;
        }
        for message in messages {
            match start(app, &message).await {
                Ok(done) => started += usize::from(done),
                Err(error) => {
                    left.push(error.to_string());
                    continue;
                }
            }
            // If this fails, the message comes again, and finds its import started.
            let receipt = message.receipt_handle.unwrap_or_default();
            let deleted = queue.delete_message().queue_url(url).receipt_handle(receipt).send().await;
            deleted.map_err(|error| later("sqs:DeleteMessage", error))?;
        }
    }
    if left.is_empty() { Ok(started) } else { Err(StepError::new(StepErrorKind::Transient, left.join("; "))) }
}

/// Starts one import. `false`: it has a job meanwhile, whose execution the sweep looks after.
async fn start(app: &App, message: &Message) -> StepResult<bool> {
    let body = message.body().unwrap_or_default();
    let Some(waiting) = read(body) else {
        let id = message.message_id().unwrap_or_default();
        return Err(StepError::invalid(format!(
            "message {id} is neither an event nor the input of an execution"
        )));
    };
    if let Some(arn) = &waiting.execution_arn {
        let connection = app.db.connection().await?;
        if jobs::find_by_execution(&connection, arn).await?.is_some() {
            return Ok(false);
        }
    }
    let states = app.clients.states().start_execution().name(&waiting.name).input(waiting.input.to_string());
    match states.set_state_machine_arn(app.config.state_machine_arn.clone()).send().await {
        Ok(_) => {
            tracing::info!(execution = waiting.name, after = waiting.execution_arn, "import started again")
        }
        // The first of two deliveries did it.
        Err(error) if error.code() == Some("ExecutionAlreadyExists") => {}
        Err(error) => return Err(later("states:StartExecution", error)),
    }
    Ok(true)
}

/// Reads a message: what the state machine has kept, or an event of EventBridge as it is.
fn read(body: &str) -> Option<Unregistered> {
    #[derive(Deserialize)]
    struct Kept {
        execution_arn: String,
        input: Value,
    }
    let body: Value = serde_json::from_str(body).ok()?;
    if let Some(id) = body.get("id").and_then(Value::as_str).filter(|_| body.get("detail").is_some()) {
        let name = name_next(id);
        return Some(Unregistered { execution_arn: None, name, input: body });
    }
    let Kept { execution_arn, input } = serde_json::from_value(body).ok()?;
    let name = name_next(execution_arn.rsplit(':').next()?);
    Some(Unregistered { execution_arn: Some(execution_arn), name, input })
}

/// The name of the execution that follows on one of this name: `x`, `x-again-1`, `x-again-2` and so on. A name that gets too long
/// is cut off and ends in its own hash.
fn name_next(name: &str) -> String {
    let earlier = name.rsplit_once(AGAIN).and_then(|(base, times)| Some((base, times.parse::<u32>().ok()?)));
    let (base, times) = earlier.unwrap_or((name, 0));
    let suffix = format!("{AGAIN}{}", times.saturating_add(1));
    if base.len() + suffix.len() <= NAME {
        return format!("{base}{suffix}");
    }
    let hash: String = Sha256::digest(base).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let room = NAME - suffix.len() - hash.len() - 1;
    let cut: String = base.chars().filter(char::is_ascii).take(room).collect();
    format!("{cut}-{hash}{suffix}")
}

fn later(doing: &str, error: impl std::error::Error + Send + Sync + 'static) -> StepError {
    let why = DisplayErrorContext(&error).to_string();
    StepError::with_source(StepErrorKind::Transient, format!("{doing}: {why}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_is_followed_by_one_that_is_derived_from_it() {
        assert_eq!(name_next("x"), "x-again-1");
        assert_eq!(name_next("x-again-9"), "x-again-10");
        assert_eq!(name_next("x-again-y"), "x-again-y-again-1");
        // EventBridge names an execution by two ids.
        let mut name = format!("{0}_{0}", "11112222-3333-4444-5555-666677778888");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1200 {
            name = name_next(&name);
            assert!(name.len() <= NAME, "{name}");
            assert!(seen.insert(name.clone()), "{name} comes twice");
            assert_eq!(name.matches(AGAIN).count(), 1, "{name}");
        }
    }

    #[test]
    fn long_names_with_the_same_beginning_stay_apart() {
        let long = "n".repeat(79);
        assert_ne!(name_next(&format!("{long}a")), name_next(&format!("{long}b")));
    }

    #[test]
    fn an_event_is_started_as_it_is_and_what_was_kept_without_its_envelope() {
        let event =
            json!({ "id": "e", "detail-type": "Object Created", "detail": { "bucket": { "name": "b" } } });
        let read_back = read(&event.to_string()).expect("an event");
        assert_eq!(
            (read_back.execution_arn, read_back.name.as_str(), read_back.input),
            (None, "e-again-1", event.clone())
        );
        let arn = "arn:aws:states:eu-central-1:1:execution:import:n-again-1";
        let kept =
            json!({ "execution_arn": arn, "input": event, "error": { "Error": "Internal", "Cause": "" } });
        let read_back = read(&kept.to_string()).expect("what was kept");
        assert_eq!(read_back.execution_arn.as_deref(), Some(arn));
        assert_eq!((read_back.name.as_str(), read_back.input), ("n-again-2", kept["input"].clone()));
        for bad in ["", "{", "[]", "{}", r#"{"input":{}}"#, r#"{"execution_arn":"x"}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
