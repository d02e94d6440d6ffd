//! Forgets uploads that were declared long ago. The bucket's lifecycle has removed their objects, so their rows are not
//! needed any more, and their names may be used again.

use shared::db::{Limits, uploads};
use shared::domain::step::StepResult;
use shared::lambda::App;

/// Uploads of one transaction: a second of work, if all of them have parts to remove.
const BATCH: u32 = 50;
/// Batches of one sweep. The next sweep goes on.
const BATCHES: u32 = 20;

/// Deletes the rows of old uploads, and returns how many.
pub(crate) async fn forget_old(app: &App) -> StepResult<usize> {
    let mut forgotten = 0;
    for _ in 0..BATCHES {
        let mut connection = app.db.connection().await?;
        let tx = connection.begin("sweep.uploads", Limits::short()).await?;
        let batch = uploads::forget(&tx, app.config.upload_retention_days, BATCH).await?;
        // Before the commit: an upload whose parts can't be removed is not forgotten.
        if let Err(error) = abort_all(app, &batch.open_multiparts).await {
            // Awaited: a sweep that follows passes over rows that are still locked.
            tx.rollback().await?;
            return Err(error);
        }
        tx.commit().await?;
        forgotten += batch.forgotten;
        if batch.forgotten < BATCH as usize {
            break;
        }
    }
    Ok(forgotten)
}

async fn abort_all(app: &App, multiparts: &[(String, String)]) -> StepResult<()> {
    for (key, multipart_id) in multiparts {
        app.objects().abort(key, multipart_id).await?;
    }
    Ok(())
}
