//! Drops the staging of imports that ended long ago.

use shared::db::staging::tables;
use shared::db::{Limits, jobs};
use shared::domain::step::StepResult;
use shared::lambda::App;

/// Drops the staging of imports that ended before the retention, one transaction each. Returns how many it dropped.
pub(crate) async fn drop_stale(app: &App) -> StepResult<usize> {
    let mut connection = app.db.connection().await?;
    let mut dropped = 0;
    for job in jobs::find_stale_staging(&connection, app.config.staging_retention_days).await? {
        let tx = connection.begin("sweep.staging", Limits::short()).await?;
        // Decided again under the row's lock: a retry may have begun.
        if jobs::expire_staging(&tx, job).await? {
            tables::drop_all(&tx, job).await?;
            tx.commit().await?;
            dropped += 1;
        } else {
            tx.rollback().await?;
        }
    }
    Ok(dropped)
}
