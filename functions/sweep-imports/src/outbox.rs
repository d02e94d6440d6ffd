//! Sends what is due in the outbox, and gives up what could not be sent for a day.

use shared::db::jobs::{self, Ending};
use shared::db::outbox::{self, Due, Message, Promises};
use shared::db::{DbResult, tasks};
use shared::domain::ids::{JobId, TaskId};
use shared::domain::message::Kind;
use shared::domain::step::StepResult;
use shared::lambda::deliver::send_all;
use shared::lambda::metrics::{Metric, count};
use shared::lambda::{App, Budget};
use std::time::Duration;

/// How many messages are taken at a time. Even if each takes as long as it may, they are sent within the minute for which they
/// are taken.
const BATCH: i64 = 64;
/// How long a message is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long one is tried whose payload can't be read. While functions are deployed, another version may be able to.
const UNREADABLE_AFTER: Duration = Duration::from_secs(3600);

/// Sends until nothing is due or the time is up. Returns how many messages went out.
pub(crate) async fn deliver_all(app: &App, budget: Budget) -> StepResult<usize> {
    let kinds = app.config.deliverable();
    let (events, executions): (Vec<_>, Vec<_>) =
        kinds.into_iter().partition(|kind| *kind == Kind::StateChanged);
    // Each service by itself: one that hangs delays no message to the other.
    let (executions, events) =
        tokio::join!(deliver_kinds(app, &executions, budget), deliver_kinds(app, &events, budget));
    Ok(executions? + events?)
}

async fn deliver_kinds(app: &App, kinds: &[Kind], budget: Budget) -> StepResult<usize> {
    let mut delivered = 0;
    while budget.left() > Duration::from_secs(1) {
        let due = outbox::take_due(&app.db.connection().await?, kinds, BATCH).await?;
        if due.is_empty() {
            break;
        }
        let sent = send_all(app, due).await;
        delivered += sent.delivered;
        for message in sent.failed.iter().filter(|message| is_overdue(message)) {
            if let Err(error) = give_up(app, message).await {
                // The next failure tries this again.
                tracing::error!(outbox_id = message.id, %error, cause = %error.cause, "message could not be given up");
            }
        }
    }
    Ok(delivered)
}

fn is_overdue(message: &Due) -> bool {
    message.age > if message.message.is_some() { GIVE_UP_AFTER } else { UNREADABLE_AFTER }
}

/// Ends what depends on the message, and says so on the job. Twice is harmless.
async fn give_up(app: &App, due: &Due) -> DbResult<()> {
    let kind = due.kind.as_str();
    tracing::error!(job_id = %due.job, outbox_id = due.id, kind, "message given up; outbox.last_error says why");
    count(Metric::MessagesGivenUp);
    let promises = match (due.kind, &due.message) {
        (Kind::StartExecution, message) => {
            let why =
                "its execution could not be started for a day; when Step Functions answers again, retry";
            fail(app, due.job, attempt_of(message), why).await?
        }
        (Kind::TaskSuccess, message) => {
            let why = "its execution could not be woken for a day; when Step Functions answers again, retry";
            fail(app, due.job, attempt_of(message), why).await?
        }
        (Kind::StartMaintenance, Some(Message::StartMaintenance { task, .. })) => {
            fail_task(app, *task).await?
        }
        (Kind::StateChanged, _) => {
            let note = "the event ImportStateChanged could not be published for a day: nobody was told";
            jobs::add_note(&app.db.connection().await?, due.job, note).await?;
            Promises::none()
        }
        // A ghost works on, and what it does is refused; or a wait goes on until its time is up, and its job has ended. Of a task
        // that can't be read, the sweep finds that it has no execution.
        (Kind::StopExecution | Kind::TaskFailure | Kind::StartMaintenance, _) => Promises::none(),
    };
    // The next batch has them.
    promises.leave_to_sweep();
    // `false`: somebody else has delivered it or given it up.
    outbox::record_given_up(&app.db.connection().await?, due.id).await.map(drop)
}

fn attempt_of(message: &Option<Message>) -> Option<i32> {
    match message {
        Some(Message::StartExecution { attempt } | Message::TaskSuccess { attempt }) => Some(*attempt),
        _ => None,
    }
}

/// Ends the job in this attempt; in its present one, if the message can't be read.
async fn fail(app: &App, job: JobId, attempt: Option<i32>, why: &str) -> DbResult<Promises> {
    let mut connection = app.db.connection().await?;
    let attempt = match attempt {
        Some(attempt) => Some(attempt),
        None => jobs::find(&connection, job).await?.map(|job| job.attempt),
    };
    let Some(attempt) = attempt else { return Ok(Promises::none()) };
    let closed = jobs::close(&mut connection, job, attempt, &Ending::failed(why)).await?;
    Ok(closed.map_or_else(Promises::none, |closed| closed.promises))
}

async fn fail_task(app: &App, task: TaskId) -> DbResult<Promises> {
    let why =
        "its execution could not be started for a day; when Step Functions answers again, ask for it again";
    Ok(tasks::give_up(&app.db.connection().await?, task, None, why).await?.unwrap_or_default())
}
