//! The connection that a long step has beside its work: it writes heartbeat and progress, and finds out whether the step may go on.

use super::connection::Session;
use super::error::DbResult;
use super::jobs::Job;
use super::pool::Database;
use super::statement::statements;
use super::{outage, tasks};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::status::Status;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

statements! {
    "progress":
    BEAT = "beat";
    DELETE_FINISHED = "delete_finished";
}

/// Deletes at most `batch` rows of jobs that ended more than a day ago, and returns how many.
pub async fn delete_finished(on: &dyn Session, batch: u32) -> DbResult<u64> {
    DELETE_FINISHED.run_many(on, &[&i64::from(batch)]).await
}

const INTERVAL: Duration = Duration::from_secs(1);
/// A step that is done before this costs no beat. So 2,000 files of this length, one at a time, are silent for less than half of
/// the time after which an import counts as stuck (`domain::lease::STUCK_AFTER`).
const FIRST: Duration = Duration::from_millis(200);

/// A part of a step that counts rows or bytes, as `import_progress` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The step's name.
    pub step: &'static str,
    /// Which part of it, such as a file's number.
    pub number: i32,
}

/// What is watched: a step of an import, or a task on one that is over.
#[derive(Debug, Clone, Copy)]
enum Watching {
    Step { job: JobId, attempt: i32, status: Status },
    Task(TaskId),
}

#[derive(Debug, Default)]
struct Shared {
    rows: AtomicI64,
    bytes: AtomicI64,
    verdict: AtomicU8,
}

const GO_ON: u8 = 0;
const CANCELLED: u8 = 1;
const SUPERSEDED: u8 = 2;

/// Beats until it is dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches a step of an import that works in the job's present state: it stops when the import is cancelled, or another
    /// attempt works.
    pub fn of_step(db: &Database, job: &Job, counts: Option<Part>) -> Self {
        let watching = Watching::Step { job: job.id, attempt: job.attempt, status: job.status };
        Self::spawn(db.clone(), watching, counts)
    }

    /// Watches a rollback, a verification or an export: it stops when its task is given up.
    pub fn of_task(db: &Database, task: TaskId, counts: Option<Part>) -> Self {
        Self::spawn(db.clone(), Watching::Task(task), counts)
    }

    fn spawn(db: Database, watched: Watching, counts: Option<Part>) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(beat_for_ever(db, watched, counts, Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Reports rows that are done, committed or not.
    pub fn set_rows(&self, rows: i64) {
        self.shared.rows.store(rows, Ordering::Relaxed);
    }

    /// Reports bytes that are done.
    pub fn set_bytes(&self, bytes: i64) {
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Checks whether the step may go on. It costs nothing.
    pub fn check(&self) -> StepResult<()> {
        match self.shared.verdict.load(Ordering::Relaxed) {
            GO_ON => Ok(()),
            CANCELLED => Err(StepError::new(StepErrorKind::Cancelled, "the import was cancelled")),
            _ => Err(StepError::new(
                StepErrorKind::Superseded,
                "another attempt has taken over this import, or this task has ended",
            )),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat_for_ever(db: Database, watched: Watching, counts: Option<Part>, shared: Arc<Shared>) {
    let mut ticks = interval_at(Instant::now() + FIRST, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match beat(&db, watched, counts, &shared).await {
            Ok(verdict) => shared.verdict.store(verdict, Ordering::Relaxed),
            // The work goes on: its own last statement is what fences it.
            Err(error) if error.is_outage() => outage::note(&error),
            Err(error) => tracing::warn!(?watched, %error, cause = %error.cause, "heartbeat failed"),
        }
    }
}

async fn beat(db: &Database, watched: Watching, counts: Option<Part>, shared: &Shared) -> DbResult<u8> {
    let connection = db.connection().await?;
    let (step, part) = (counts.map(|part| part.step), counts.map(|part| part.number));
    let (rows, bytes) = (shared.rows.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
    let row = match watched {
        Watching::Step { job, attempt, status } => {
            BEAT.opt(&connection, &[&job, &attempt, &status, &step, &part, &rows, &bytes]).await?
        }
        Watching::Task(task) => tasks::BEAT.opt(&connection, &[&task, &step, &part, &rows, &bytes]).await?,
    };
    Ok(match row {
        None => SUPERSEDED,
        Some(row) if row.get::<_, bool>("cancel_requested") => CANCELLED,
        Some(_) => GO_ON,
    })
}
