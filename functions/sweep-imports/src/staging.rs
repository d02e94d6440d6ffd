//! Drops the staging of imports that ended long ago.

use crate::Tally;
use shared::db::staging::tables;
use shared::db::{Limits, Transaction, jobs};
use shared::domain::ids::JobId;
use shared::domain::step::StepResult;
use shared::lambda::App;

/// Drops the staging of imports that ended before the retention, one transaction each.
pub(crate) async fn drop_stale(app: &App) -> Tally {
    let mut tally = Tally::of("old staging");
    let days = app.config.staging_retention_days;
    let stale = async { jobs::take_stale_staging(&app.db.connection().await?, days).await };
    for job in tally.list(stale.await) {
        tally.add(job, drop_of(app, job).await);
    }
    tally
}

async fn drop_of(app: &App, job: JobId) -> StepResult<bool> {
    let mut connection = app.db.connection().await?;
    let tx = connection.begin("sweep.staging", Limits::short()).await?;
    let dropped = drop_in(&tx, job).await;
    tx.settle(dropped).await
}

async fn drop_in(tx: &Transaction<'_>, job: JobId) -> StepResult<bool> {
    // Decided again under the row's lock: a retry may have begun.
    let expired = jobs::expire_staging(tx, job).await?;
    if expired {
        tables::drop_all(tx, job).await?;
    }
    Ok(expired)
}
