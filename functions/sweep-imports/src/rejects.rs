//! Deletes the rejects of imports whose staging was cleared, by a person or after its retention.

use shared::db::{Limits, rejects};
use shared::domain::step::StepResult;
use shared::lambda::App;

/// Rejects of one transaction: 8 MiB, if all are as large as may be.
const BATCH: u32 = 1000;
/// Batches of one sweep. The next sweep goes on.
const BATCHES: u32 = 100;

/// Deletes rejects, and returns how many.
pub(crate) async fn delete_expired(app: &App) -> StepResult<usize> {
    let mut connection = app.db.connection().await?;
    let (mut deleted, mut batches) = (0, 0);
    for job in rejects::find_expired(&connection).await? {
        let mut full = true;
        while full && batches < BATCHES {
            let tx = connection.begin("sweep.rejects", Limits::short()).await?;
            let gone = rejects::delete_expired(&tx, job, BATCH).await?;
            tx.commit().await?;
            full = gone == u64::from(BATCH);
            deleted += usize::try_from(gone).unwrap_or(usize::MAX);
            batches += 1;
        }
    }
    Ok(deleted)
}
