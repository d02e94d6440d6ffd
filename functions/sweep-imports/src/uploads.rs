//! Uploads that were declared long ago. Their objects are gone by the bucket's lifecycle; then nothing needs the rows,
//! and their names may be used again.

use shared::db::transaction::{Limits, begin, commit};
use shared::db::uploads;
use shared::domain::step::StepResult;
use shared::edge::App;

/// Uploads of one transaction: a second, if all of them have parts to let go of.
const BATCH: u32 = 50;
/// Batches of one sweep. The next one goes on.
const BATCHES: u32 = 20;

pub async fn forget_old(app: &App) -> StepResult<usize> {
    const NAME: &str = "sweep.uploads";
    let mut forgotten = 0;
    for _ in 0..BATCHES {
        let mut connection = app.db.connection().await?;
        let tx = begin(&mut connection, NAME, Limits::short()).await?;
        let batch = uploads::forget(tx.client(), app.config.upload_retention_days, BATCH).await?;
        // Before the commit: an upload that can't be let go of is not forgotten.
        for (key, multipart_id) in batch.open_multiparts {
            app.objects().abort(&key, &multipart_id).await?;
        }
        commit(tx, NAME).await?;
        forgotten += batch.forgotten;
        if batch.forgotten < BATCH as usize {
            break;
        }
    }
    Ok(forgotten)
}
