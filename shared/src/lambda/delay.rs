//! Shows on a job that one of its steps is repeated for want of the database or of S3. It only informs: a note that can't be made
//! changes nothing about the step.

use super::app::App;
use crate::db::jobs::delay::{self, WorkedOn};
use crate::db::{DbError, DbResult, Limits};
use crate::domain::phase::Phase;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// How long a note may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The job that an input names; `None` for a step that works on no import.
pub(super) fn read(payload: &Value) -> Option<WorkedOn> {
    let member = |name: &str| payload.get(name).cloned().unwrap_or_default();
    let on = WorkedOn {
        job: serde_json::from_value(member("job_id")).ok(),
        attempt: serde_json::from_value(member("attempt")).ok(),
        execution_arn: serde_json::from_value(member("execution_arn")).ok(),
    };
    (on.job.is_some() || on.execution_arn.is_some()).then_some(on)
}

/// Notes how the step has ended: `was`, whether the job was delayed when it began.
pub(super) async fn note<O>(app: &App, on: &WorkedOn, was: bool, done: &StepResult<O>) {
    let noted = match done {
        Err(error) if error.kind == StepErrorKind::Transient => match waits_for(error) {
            Some(phase) => timeout(PATIENCE, write(app, on, Some(phase))).await,
            None => return,
        },
        _ if was => timeout(PATIENCE, write(app, on, None)).await,
        _ => return,
    };
    if !matches!(noted, Ok(Ok(()))) {
        tracing::debug!(?on, "the delay could not be noted");
    }
}

/// What the step waits for. Its own words alone, such as another loader of the same file, are no reason to look elsewhere.
fn waits_for(error: &StepError) -> Option<Phase> {
    error.source.as_ref()?;
    Some(if DbError::of_step(error).is_some() { Phase::WaitingForDatabase } else { Phase::WaitingForStorage })
}

async fn write(app: &App, on: &WorkedOn, phase: Option<Phase>) -> DbResult<()> {
    let mut connection = app.db.connection().await?;
    let limits = Limits { statement: Duration::from_secs(1), lock: Duration::from_millis(500), bulk: false };
    let tx = connection.begin("delay", limits).await?;
    match phase {
        Some(phase) => delay::begin(&tx, on, phase).await?,
        None => delay::end(&tx, on).await?,
    };
    tx.commit().await
}
