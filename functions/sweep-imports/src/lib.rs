//! Finishes what was left behind: undelivered messages, imports without a job, jobs and tasks whose execution is over, imports in
//! line that nobody woke, expired waits, old staging, old rejects and old uploads. It runs every minute; if one of them fails, the
//! others go on.

mod executions;
mod jobs;
mod line;
mod outbox;
mod rejects;
mod staging;
mod tally;
mod tasks;
mod unregistered;
mod uploads;

use serde::Serialize;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::{App, Budget};
use std::time::Duration;
use tally::Tally;

/// A step beats every second. After this long without a beat something is wrong, or the job waits. (An import that may be
/// superseded is silent for longer: `shared/src/domain/lease.rs`.)
pub const SILENT: Duration = Duration::from_secs(45);
/// How many executions a sweep looks up of imports that beat, and how many of those that wait; of tasks, as many again. Step
/// Functions allows 250 calls of DescribeExecution at once and 10 a second from there on, in the smaller regions ("Quotas related
/// to API action throttling", AWS Step Functions Developer Guide).
const MOST: i64 = 75;
/// How much later than the state machine the sweep ends a wait.
const EXPIRY_GRACE: Duration = Duration::from_secs(300);

/// What the sweep did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    pub delivered: usize,
    pub started_again: usize,
    pub closed: usize,
    pub given_up: usize,
    pub asked_again: usize,
    pub woken: usize,
    pub expired: usize,
    pub staging_dropped: usize,
    pub rejects_deleted: usize,
    pub uploads_forgotten: usize,
}

/// How many connections to the database it holds. The step does one thing at a time.
pub const CONNECTIONS: usize = 1;

/// The handler. Its input, the schedule's event, is not read.
pub async fn handle(app: App, _event: serde_json::Value, budget: Budget) -> StepResult<Output> {
    // First, because they may hold a merchant.
    let closed = jobs::close_dead(&app).await;
    let given_up = tasks::give_up_dead(&app).await;
    let mut asked_again = Tally::of("asked again");
    asked_again.count(tasks::ask_again(&app).await);
    let mut delivered = Tally::of("outbox");
    delivered.count(outbox::deliver_all(&app, Budget::of(budget.left() / 2)).await);
    let mut started_again = Tally::of("imports without a job");
    started_again.count(unregistered::start_again(&app).await);
    let woken = line::wake_lost(&app).await;
    let expired = jobs::expire(&app).await;
    let staging = staging::drop_stale(&app).await;
    let mut rejects = Tally::of("old rejects");
    rejects.count(rejects::delete_expired(&app).await);
    let mut uploads = Tally::of("old uploads");
    uploads.count(uploads::forget_old(&app).await);
    let output = Output {
        closed: closed.done,
        given_up: given_up.done,
        asked_again: asked_again.done,
        delivered: delivered.done,
        started_again: started_again.done,
        woken: woken.done,
        expired: expired.done,
        staging_dropped: staging.done,
        rejects_deleted: rejects.done,
        uploads_forgotten: uploads.done,
    };
    let tallies =
        [closed, given_up, asked_again, delivered, started_again, woken, expired, staging, rejects, uploads];
    let failures: Vec<String> = tallies.iter().filter_map(Tally::describe_failures).collect();
    match failures.is_empty() {
        true => Ok(output),
        // The alarm on this function's errors must go off.
        false => Err(StepError::new(StepErrorKind::Transient, failures.join("; "))),
    }
}
