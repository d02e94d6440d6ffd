//! Makes the staging workspace, under the merchant's lease.

use shared::db::Limits;
use shared::db::jobs::{self, Job};
use shared::db::staging::tables;
use shared::domain::status::Status;
use shared::domain::step::StepResult;
use shared::lambda::App;

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
