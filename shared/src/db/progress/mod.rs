//! The second connection of a long step: it writes progress and heartbeat, and finds out whether the step may go on.

use super::connection::Session;
use super::error::DbResult;
use super::pool::Database;
use super::statement::statements;
use super::{tasks, user_profiles};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::status::Status;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use uuid::Uuid;

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

/// A part of a step of an import.
#[derive(Debug, Clone, Copy)]
pub struct WatchedStep {
    /// The import.
    pub job: JobId,
    /// The attempt that the step works for.
    pub attempt: i32,
    /// The state in which the step works.
    pub status: Status,
    /// The step's name in `import_progress`.
    pub step: &'static str,
    /// Which part of it, such as a file's number.
    pub part: i32,
}

/// What is watched: a step of an import, or a task on one that is over.
#[derive(Debug, Clone, Copy)]
enum Watching {
    Step(WatchedStep),
    Task { task: TaskId, step: &'static str, part: i32 },
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
    /// Watches a step of an import: it stops when the import is cancelled, or another attempt works.
    pub fn of_step(db: &Database, step: WatchedStep) -> Self {
        Self::spawn(db.clone(), Watching::Step(step))
    }

    /// Watches a rollback or an export: it stops when its task is given up.
    pub fn of_task(db: &Database, task: TaskId, step: &'static str, part: i32) -> Self {
        Self::spawn(db.clone(), Watching::Task { task, step, part })
    }

    fn spawn(db: Database, watched: Watching) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(beat_for_ever(db, watched, Arc::clone(&shared)));
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

async fn beat_for_ever(db: Database, watched: Watching, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match beat(&db, watched, &shared).await {
            Ok(verdict) => shared.verdict.store(verdict, Ordering::Relaxed),
            // The work goes on: its own last statement is what fences it.
            Err(error) => tracing::warn!(?watched, %error, cause = %error.cause, "heartbeat failed"),
        }
    }
}

async fn beat(db: &Database, watched: Watching, shared: &Shared) -> DbResult<u8> {
    let connection = db.connection().await?;
    let (rows, bytes) = (shared.rows.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
    let row = match watched {
        Watching::Step(WatchedStep { job, attempt, status, step, part }) => {
            let row = BEAT.opt(&connection, &[&job, &attempt, &status, &step, &part, &rows, &bytes]).await?;
            // A user who imports is not stuck while a step beats.
            if let Some(user) = row.as_ref().and_then(|row| row.get::<_, Option<Uuid>>("created_by")) {
                user_profiles::BEAT.run_guarded(&connection, &[&user, &job]).await?;
            }
            row
        }
        Watching::Task { task, step, part } => {
            tasks::BEAT.opt(&connection, &[&task, &step, &part, &rows, &bytes]).await?
        }
    };
    Ok(match row {
        None => SUPERSEDED,
        Some(row) if row.get::<_, bool>("cancel_requested") => CANCELLED,
        Some(_) => GO_ON,
    })
}
