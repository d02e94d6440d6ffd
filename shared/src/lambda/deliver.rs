//! Delivers what the outbox promised: starts and stops of executions, answers to waiting tasks, events. A delivery may
//! happen twice; it is named by the job, so the second does nothing.

use super::app::App;
use super::executions::{self, Execution};
use crate::db::outbox::{self, Due, Message, Promises};
use crate::db::{DbResult, jobs};
use crate::domain::execution;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::phase::Phase;
use crate::domain::status::Status;
use crate::domain::task::Action;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata};
use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};

/// What became of promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Delivered, or left to the sweep.
    Promised,
    /// A start was refused for good; its job has failed.
    Refused,
}

/// Why a message did not go out.
#[derive(Debug)]
enum Failure {
    /// Worth trying again.
    Later(String),
    /// It will never be taken.
    Refused(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Later(why)
    }
}

/// Delivers these messages now. What this function can't deliver stays in the outbox for the sweep.
pub async fn deliver(app: &App, promises: Promises) -> Delivery {
    let ids = promises.into_ids();
    if ids.is_empty() {
        return Delivery::Promised;
    }
    let taken = async { outbox::take(&app.db.connection().await?, &ids, &app.config.deliverable()).await };
    match taken.await {
        Ok(due) => match send_all(app, due).await.refused {
            0 => Delivery::Promised,
            _ => Delivery::Refused,
        },
        Err(error) => {
            tracing::warn!(?ids, %error, "left to the sweep");
            Delivery::Promised
        }
    }
}

/// What became of messages.
#[derive(Debug, Default)]
pub struct Sent {
    /// How many went out.
    pub delivered: usize,
    /// How many starts were refused for good.
    pub refused: usize,
    /// Those that did not go out; each is due again later.
    pub failed: Vec<Due>,
}

/// How many messages are on their way at a time.
const AT_A_TIME: usize = 8;

/// Sends messages that were taken: those of one job one after the other, several jobs beside each other. None stops another.
pub async fn send_all(app: &App, due: Vec<Due>) -> Sent {
    let mut jobs: BTreeMap<JobId, VecDeque<Due>> = BTreeMap::new();
    for message in due {
        jobs.entry(message.job).or_default().push_back(message);
    }
    let parts = stream::iter(jobs.into_values()).map(|due| send_in_order(app, due));
    let mut parts = parts.buffer_unordered(AT_A_TIME);
    let mut all = Sent::default();
    while let Some(part) = parts.next().await {
        all.delivered += part.delivered;
        all.refused += part.refused;
        all.failed.extend(part.failed);
    }
    all
}

async fn send_in_order(app: &App, mut due: VecDeque<Due>) -> Sent {
    let mut sent = Sent::default();
    while let Some(message) = due.pop_front() {
        let recorded = match send(app, &message).await {
            Ok(promises) => {
                sent.delivered += 1;
                record_delivered(app, message.id, promises).await.map(|next| due.extend(next))
            }
            Err(Failure::Refused(error)) => {
                tracing::error!(job_id = %message.job, outbox_id = message.id, error, "start refused");
                sent.refused += 1;
                close_refused(app, &message).await
            }
            Err(Failure::Later(error)) => {
                let kind = message.kind.as_str();
                tracing::warn!(job_id = %message.job, outbox_id = message.id, kind, error, "delivery failed, will be repeated");
                let id = message.id;
                sent.failed.push(message);
                record_failed(app, id, &error).await
            }
        };
        if let Err(error) = recorded {
            // It is due again in a minute, whatever became of it.
            tracing::warn!(%error, cause = %error.cause, "the outcome of a delivery was not recorded");
        }
    }
    sent
}

/// Returns what the delivery has promised in turn, because the execution that was to be woken is gone.
async fn record_delivered(app: &App, id: i64, promises: Promises) -> DbResult<Vec<Due>> {
    let connection = app.db.connection().await?;
    outbox::record_delivered(&connection, id).await?;
    let ids = promises.into_ids();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    outbox::take(&connection, &ids, &app.config.deliverable()).await
}

async fn record_failed(app: &App, id: i64, error: &str) -> DbResult<()> {
    // `false`: a ghost has delivered it.
    outbox::record_failed(&app.db.connection().await?, id, error).await.map(drop)
}

async fn close_refused(app: &App, message: &Due) -> DbResult<()> {
    jobs::close_refused(&mut app.db.connection().await?, message).await
}

/// Sends one message. Returns what is to be delivered next.
async fn send(app: &App, due: &Due) -> Result<Promises, Failure> {
    let Some(message) = &due.message else {
        return Err(Failure::Later("its payload can't be read".into()));
    };
    match message {
        Message::StartExecution { attempt } => start_execution(app, due.job, *attempt).await?,
        Message::StopExecution { execution_arn } => stop_execution(app, execution_arn).await?,
        Message::TaskSuccess { attempt } => return Ok(wake(app, due.job, *attempt).await?),
        Message::TaskFailure { token } => {
            let sent = app
                .clients
                .states()
                .send_task_failure()
                .task_token(token)
                .error("Cancelled")
                .cause("the import was cancelled")
                .send()
                .await;
            // Without a listener there is nobody to tell.
            read_listening(sent.map(|_| ()))?;
        }
        Message::StateChanged => state_changed(app, due.job).await?,
        Message::StartMaintenance { task, action } => {
            start_maintenance(app, due.job, *task, *action).await?;
        }
    }
    Ok(Promises::none())
}

/// StartExecution's errors that no repetition mends (AWS Step Functions API Reference, "StartExecution").
const REFUSALS: [&str; 6] = [
    "InvalidArn",
    "InvalidExecutionInput",
    "InvalidName",
    "StateMachineDeleting",
    "StateMachineDoesNotExist",
    "ValidationException",
];

async fn start_execution(app: &App, job: JobId, attempt: i32) -> Result<(), Failure> {
    let machine = app.config.state_machine_arn.as_deref();
    let machine = machine.ok_or_else(|| Failure::Later("STATE_MACHINE_ARN is not set".into()))?;
    let started = app
        .clients
        .states()
        .start_execution()
        .state_machine_arn(machine)
        .name(execution::name_of_attempt(job, attempt))
        .input(json!({ "job_id": job, "attempt": attempt }).to_string())
        .send()
        .await;
    match started {
        Ok(_) => Ok(()),
        // The first of two deliveries did it.
        Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(()),
        Err(error) => {
            let refused = error.code().is_some_and(|code| REFUSALS.contains(&code));
            let why = DisplayErrorContext(error).to_string();
            Err(if refused { Failure::Refused(why) } else { Failure::Later(why) })
        }
    }
}

/// One execution per task, whose name it has.
async fn start_maintenance(app: &App, job: JobId, task: TaskId, action: Action) -> Result<(), String> {
    let machine = app.config.maintenance_state_machine_arn.as_deref();
    let started = app
        .clients
        .states()
        .start_execution()
        .state_machine_arn(machine.ok_or("MAINTENANCE_STATE_MACHINE_ARN is not set")?)
        .name(execution::name_of_task(action, task))
        .input(json!({ "action": action, "task_id": task, "job_id": job }).to_string())
        .send()
        .await;
    match started {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(()),
        Err(error) => Err(DisplayErrorContext(error).to_string()),
    }
}

async fn stop_execution(app: &App, arn: &str) -> Result<(), String> {
    let stopped = app
        .clients
        .states()
        .stop_execution()
        .execution_arn(arn)
        .error("Superseded")
        .cause("another import, or another attempt, took over")
        .send()
        .await;
    match stopped {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(()),
        Err(error) => Err(DisplayErrorContext(error).to_string()),
    }
}

/// Wakes the execution that waits for an approval, or in line for the merchant. The token is the job's present one: a repeated task
/// may have brought a new one since the promise. Returns what the next in line was promised, if this one is gone.
async fn wake(app: &App, job: JobId, attempt: i32) -> Result<Promises, String> {
    let connection = app.db.connection().await.map_err(|e| e.to_string())?;
    let found = jobs::find(&connection, job).await.map_err(|e| e.to_string())?;
    drop(connection);
    let Some(found) = found.filter(|found| found.attempt == attempt) else { return Ok(Promises::none()) };
    let in_line = found.status == Status::Pending && found.phase == Phase::WaitingForMerchant;
    let (Some(token), true) = (found.task_token, in_line || found.status == Status::Processing) else {
        // It has moved on: nobody waits for this any more.
        return Ok(Promises::none());
    };
    let states = app.clients.states();
    let sent = states.send_task_success().task_token(&token).output("{}").send().await;
    let listening = read_listening(sent.map(|_| ()))?;
    match (in_line, found.execution_arn) {
        (true, _) => end_sleep(app, job, &token, listening).await.map_err(|e| e.to_string()),
        (false, Some(execution)) if !listening => go_on(app, job, attempt, &execution).await,
        (false, _) => Ok(Promises::none()),
    }
}

/// Nobody listens to an approval. It was delivered before, or the execution has just run into the time-out and goes on by itself.
/// An execution that is over never hears of it: the next attempt goes on.
async fn go_on(app: &App, job: JobId, attempt: i32, execution: &str) -> Result<Promises, String> {
    match executions::find(app, execution).await {
        Execution::Going => return Ok(Promises::none()),
        Execution::Unknown => return Err("nobody listens, and the execution could not be looked up".into()),
        Execution::Ended(_) | Execution::Gone => {}
    }
    let connection = app.db.connection().await.map_err(|e| e.to_string())?;
    let next = jobs::begin_next_attempt(&connection, job, attempt, execution).await;
    let next = next.map_err(|e| e.to_string())?;
    if next.is_some() {
        tracing::warn!(job_id = %job, attempt, "the execution was over before its approval: the next attempt goes on");
    }
    Ok(next.unwrap_or_default())
}

/// What was woken by its token is awake; a sleeper that does not listen leaves the line to the next.
async fn end_sleep(app: &App, job: JobId, token: &str, listening: bool) -> DbResult<Promises> {
    let connection = app.db.connection().await?;
    if listening {
        // `false`: it was quicker, and has the lease or another token.
        jobs::record_woken(&connection, job, token).await?;
        return Ok(Promises::none());
    }
    tracing::warn!(job_id = %job, "its execution does not wait in line any more");
    match jobs::leave_line(&connection, job, token).await? {
        true => Promises::of_line(&connection, job).await,
        false => Ok(Promises::none()),
    }
}

/// Whether a task waited for its token: not if it was answered before, or its execution is over.
fn read_listening<E, R>(sent: Result<(), aws_sdk_sfn::error::SdkError<E, R>>) -> Result<bool, String>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match sent {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.code(), Some("TaskTimedOut" | "TaskDoesNotExist" | "InvalidToken")) => {
            Ok(false)
        }
        Err(error) => Err(DisplayErrorContext(error).to_string()),
    }
}

/// `ImportStateChanged`, with what the job is now.
async fn state_changed(app: &App, job: JobId) -> Result<(), String> {
    let detail = event_detail(app, job).await.map_err(|e| e.to_string())?;
    let Some(detail) = detail else { return Ok(()) };
    let entry = PutEventsRequestEntry::builder()
        .event_bus_name(&app.config.event_bus_name)
        .source("onceload")
        .detail_type("ImportStateChanged")
        .detail(detail.to_string())
        .build();
    let put = app.clients.events().put_events().entries(entry).send().await;
    match put {
        Ok(put) if put.failed_entry_count() == 0 => Ok(()),
        Ok(put) => Err(format!("{:?}", put.entries())),
        Err(error) => Err(DisplayErrorContext(error).to_string()),
    }
}

/// The members of the event's detail, as the API shows them.
const DETAIL: [&str; 13] = [
    "job_id",
    "merchant_id",
    "status",
    "attempt",
    "created_at",
    "created_by",
    "completed_at",
    "rolled_back_at",
    "counts",
    "blocked",
    "insert_estimate_seconds",
    "rejected_by_reason",
    "error_message",
];

async fn event_detail(app: &App, job: JobId) -> DbResult<Option<Value>> {
    let connection = app.db.connection().await?;
    let Some(found) = jobs::find(&connection, job).await? else { return Ok(None) };
    let view = jobs::find_view(&connection, &[found.merchant], job, true).await?;
    Ok(view.map(|view| {
        let view = json!(view);
        let mut detail: Map<_, _> =
            DETAIL.iter().map(|name| ((*name).to_owned(), view[*name].clone())).collect();
        // Without samples: a code is as good as money.
        let warnings = view["warnings"].as_array().into_iter().flatten();
        let counts = warnings.filter_map(|w| Some((w["reason"].as_str()?.to_owned(), w["count"].clone())));
        detail.insert("warnings".into(), counts.collect::<Map<_, _>>().into());
        Value::Object(detail)
    }))
}
