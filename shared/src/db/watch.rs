//! The second connection of a long step: writes progress and heartbeat, and looks whether the step may go on.

use super::pool::{Database, client};
use super::rows::Param;
use super::sql;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::job::Status;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use uuid::Uuid;

const BEAT: Duration = Duration::from_millis(1000);

/// Which part of which step is being watched.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    pub job: JobId,
    pub attempt: i32,
    /// The state in which the step works.
    pub status: Status,
    pub step: &'static str,
    pub part: i32,
}

/// What is watched: a step of an import, or a task on one that is over.
#[derive(Debug, Clone, Copy)]
enum Watching {
    Step(Watched),
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
    pub fn start(db: Database, watched: Watched) -> Self {
        Self::spawn(db, Watching::Step(watched))
    }

    /// Watches a rollback or an export: it stops when its task is given up.
    pub fn of_task(db: Database, task: TaskId, step: &'static str, part: i32) -> Self {
        Self::spawn(db, Watching::Task { task, step, part })
    }

    fn spawn(db: Database, watched: Watching) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(beat_for_ever(db, watched, Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Rows that are done, not yet committed.
    pub fn set_rows(&self, rows: i64) {
        self.shared.rows.store(rows, Ordering::Relaxed);
    }

    pub fn set_bytes(&self, bytes: i64) {
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether the step may go on. Cheap: call it as often as you like.
    pub fn check(&self) -> StepResult<()> {
        match self.shared.verdict.load(Ordering::Relaxed) {
            GO_ON => Ok(()),
            CANCELLED => Err(StepError::new(StepErrorKind::Cancelled, "the import was cancelled")),
            _ => Err(StepError::new(
                StepErrorKind::Superseded,
                "this work was given up, or another attempt has it",
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
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match beat(&db, watched, &shared).await {
            Ok(verdict) => shared.verdict.store(verdict, Ordering::Relaxed),
            // The work goes on: its own last statement is what fences it.
            Err(error) => tracing::warn!(?watched, %error, "heartbeat failed"),
        }
    }
}

async fn beat(db: &Database, watched: Watching, shared: &Shared) -> super::DbResult<u8> {
    let connection = db.connection().await?;
    let (rows, bytes) = (shared.rows.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
    let row = match watched {
        Watching::Step(Watched { job, attempt, status, step, part }) => {
            let params: &[Param<'_>] = &[
                (&job.0, Type::UUID),
                (&attempt, Type::INT4),
                (&status.as_str(), Type::TEXT),
                (&step, Type::TEXT),
                (&part, Type::INT4),
                (&rows, Type::INT8),
                (&bytes, Type::INT8),
            ];
            let row = sql::PROGRESS_BEAT.opt(client(&connection), params).await?;
            // A user who imports is not stuck while a step beats.
            if let Some(user) = row.as_ref().and_then(|row| row.get::<_, Option<Uuid>>("created_by")) {
                let params: &[Param<'_>] = &[(&user, Type::UUID), (&job.0, Type::UUID)];
                sql::USER_PROFILES_BEAT.run(client(&connection), params).await?;
            }
            row
        }
        Watching::Task { task, step, part } => {
            let params: &[Param<'_>] = &[
                (&task.0, Type::UUID),
                (&step, Type::TEXT),
                (&part, Type::INT4),
                (&rows, Type::INT8),
                (&bytes, Type::INT8),
            ];
            sql::TASKS_BEAT.opt(client(&connection), params).await?
        }
    };
    Ok(match row {
        None => SUPERSEDED,
        Some(row) if row.get::<_, bool>("cancel_requested") => CANCELLED,
        Some(_) => GO_ON,
    })
}
