//! Takes the merchant's lease, and makes the staging workspace under it.

use shared::db::jobs::{self, Job};
use shared::db::staging::tables;
use shared::db::{Limits, Session};
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::App;

/// What became of asking for the merchant's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// The job has it.
    Taken,
    /// Another import of the merchant works, or one that came earlier waits.
    Busy,
}

/// `pending -> loading` with the merchant's lease. A job that is loading has it.
pub(crate) async fn take_merchant(app: &App, job: &Job, split_points: &[String]) -> StepResult<Lease> {
    let connection = app.db.connection().await?;
    if job.status == Status::Pending {
        if job.day_old {
            let message =
                "waited a day for other imports of this merchant; start it again when they are done";
            return Err(StepError::new(StepErrorKind::ImportInProgress, message));
        }
        return take_lease(&connection, job, split_points).await;
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

async fn take_lease(on: &dyn Session, job: &Job, split_points: &[String]) -> StepResult<Lease> {
    if jobs::take_lease(on, job, split_points).await? {
        return Ok(Lease::Taken);
    }
    if jobs::wait_for_merchant(on, job).await? {
        return Ok(Lease::Busy);
    }
    let found = jobs::get(on, job.id).await?;
    // A ghost of this very step was quicker.
    if found.may_load(job.attempt) {
        return Ok(Lease::Taken);
    }
    Err(found.refusal(job.attempt, Status::Pending))
}

/// Makes the staging workspace of a loading job that has none.
pub(crate) async fn create(app: &App, job: &Job, buckets: usize) -> StepResult<()> {
    if job.staging_created {
        return Ok(());
    }
    let mut connection = app.db.connection().await?;
    let tx = connection.begin("open.staging", Limits::short()).await?;
    // The job's row first: two openings of one job take turns.
    if jobs::set_staging_created(&tx, job).await? {
        tables::create(&tx, job.id, buckets).await?;
        return Ok(tx.commit().await?);
    }
    let found = jobs::get(&tx, job.id).await?;
    tx.rollback().await?;
    // The other opening has made it, and files may be loading: it must not be made anew.
    if found.may_load(job.attempt) && found.staging_created {
        return Ok(());
    }
    Err(found.refusal(job.attempt, Status::Loading))
}
