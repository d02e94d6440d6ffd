//! The second connection of a long step: writes progress and heartbeat, and looks whether the step may go on.

use super::pool::{Database, client};
use super::rows::Param;
use super::sql;
use crate::domain::ids::JobId;
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
            _ => Err(StepError::new(StepErrorKind::Superseded, "another attempt of this import is at work")),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat_for_ever(db: Database, watched: Watched, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match beat(&db, watched, &shared).await {
            Ok(verdict) => shared.verdict.store(verdict, Ordering::Relaxed),
            // The work goes on: its own last statement is what fences it.
            Err(error) => tracing::warn!(job_id = %watched.job, %error, "heartbeat failed"),
        }
    }
}

async fn beat(db: &Database, watched: Watched, shared: &Shared) -> super::DbResult<u8> {
    let connection = db.connection().await?;
    let row = sql::PROGRESS_BEAT
        .opt(
            client(&connection),
            &[
                (&watched.job.0, Type::UUID),
                (&watched.attempt, Type::INT4),
                (&watched.status.as_str(), Type::TEXT),
                (&watched.step, Type::TEXT),
                (&watched.part, Type::INT4),
                (&shared.rows.load(Ordering::Relaxed), Type::INT8),
                (&shared.bytes.load(Ordering::Relaxed), Type::INT8),
            ],
        )
        .await?;
    // A user who imports is not stuck while a step beats.
    if let Some(user) = row.as_ref().and_then(|row| row.get::<_, Option<Uuid>>("created_by")) {
        let params: &[Param<'_>] = &[(&user, Type::UUID), (&watched.job.0, Type::UUID)];
        sql::USER_PROFILES_BEAT.run(client(&connection), params).await?;
    }
    Ok(match row {
        None => SUPERSEDED,
        Some(row) if row.get::<_, bool>("cancel_requested") => CANCELLED,
        Some(_) => GO_ON,
    })
}
