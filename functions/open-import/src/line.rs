//! Takes the merchant's lease, or waits for it in line.

use crate::Output;
use shared::db::jobs::{self, Job};
use shared::db::outbox::Promises;
use shared::db::{Limits, Transaction, merchants};
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::domain::token::TaskToken;
use shared::lambda::App;
use shared::lambda::deliver::deliver;

/// What became of asking for the merchant's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// The job has it.
    Taken,
    /// Another import of the merchant works, or is first in line.
    Busy,
}

/// `pending -> loading` with the merchant's lease. A job that is loading has it.
pub(crate) async fn take_merchant(app: &App, job: &Job, split_points: &[String]) -> StepResult<Lease> {
    let mut connection = app.db.connection().await?;
    if job.status == Status::Pending {
        let mut tx = connection.begin("open.line", Limits::short()).await?;
        let outcome = take_lease(&mut tx, job, split_points).await;
        return tx.settle(outcome).await;
    }
    if job.split_points.is_none() && !jobs::set_split_points(&connection, job, split_points).await? {
        let found = jobs::get(&connection, job.id).await?;
        // A ghost of this very step was quicker: opening again finds its points.
        if found.may_load(job.attempt) {
            return Err(StepError::new(
                StepErrorKind::Transient,
                "another opening of this job has cut its staging",
            ));
        }
        return Err(found.refusal(job.attempt, Status::Loading));
    }
    Ok(Lease::Taken)
}

/// Everybody joins the line; who is first and finds the lease free takes it.
async fn take_lease(tx: &mut Transaction<'_>, job: &Job, split_points: &[String]) -> StepResult<Lease> {
    merchants::lock_line(tx, job.merchant).await?;
    let joined = jobs::join_line(tx, job, Some(split_points), None).await?;
    if jobs::take_lease(tx, job, split_points).await? {
        return Ok(Lease::Taken);
    }
    if joined && job.day_old {
        let message = "waited a day for other imports of this merchant; start it again when they are done";
        return Err(StepError::new(StepErrorKind::ImportInProgress, message));
    }
    if joined {
        return Ok(Lease::Busy);
    }
    let found = jobs::get(tx, job.id).await?;
    // A ghost of this very step was quicker.
    if found.may_load(job.attempt) {
        return Ok(Lease::Taken);
    }
    Err(found.refusal(job.attempt, Status::Pending))
}

/// Stores the token that wakes the execution when it is the job's turn: at once, if the lease was returned meanwhile. A call that
/// was overtaken by a later one writes nothing, and nobody awaits its answer.
pub(crate) async fn sleep(app: &App, job: &Job, token: TaskToken<'_>) -> StepResult<Output> {
    let mut connection = app.db.connection().await?;
    let tx = connection.begin("open.sleep", Limits::short()).await?;
    let outcome = keep_token(&tx, job, token).await;
    let promises = tx.settle(outcome).await?;
    drop(connection);
    deliver(app, promises).await;
    Ok(Output::Wait { job_id: job.id, attempt: job.attempt })
}

async fn keep_token(tx: &Transaction<'_>, job: &Job, token: TaskToken<'_>) -> StepResult<Promises> {
    merchants::lock_line(tx, job.merchant).await?;
    if !jobs::join_line(tx, job, None, Some(token)).await? {
        let found = jobs::get(tx, job.id).await?;
        return match found.is_overtaken(job.attempt, token.order) {
            true => Ok(Promises::none()),
            false => Err(found.refusal(job.attempt, Status::Pending)),
        };
    }
    Ok(Promises::of_line(tx, job.id).await?)
}
