//! Deletes idempotency keys that have expired. Runs every night; correctness doesn't depend on it, since a key's age is
//! looked at whenever it is used.

use serde::Serialize;
use shared::db::expired_keys;
use shared::domain::step::StepResult;
use shared::edge::{App, Budget};
use std::time::Duration;

/// Keys of one transaction: a fraction of a second.
pub const BATCH: u32 = 5000;
/// Longest statement of a short transaction: with less time left no further batch is begun.
const ONE_MORE: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    pub deleted: u64,
    pub batches: u64,
    /// False: the time was over first. The next run goes on.
    pub complete: bool,
}

/// The handler. Its input, the schedule's event, says nothing.
pub async fn handle(app: App, _event: serde_json::Value, budget: Budget) -> StepResult<Output> {
    let mut connection = app.db.connection().await?;
    let mut output = Output::default();
    while !output.complete && (output.batches == 0 || budget.left() > ONE_MORE) {
        let deleted = expired_keys::delete(&mut connection, BATCH).await?;
        output.batches += 1;
        output.deleted += deleted;
        output.complete = deleted < u64::from(BATCH);
    }
    tracing::info!(
        batches = output.batches,
        complete = output.complete,
        "Cleared {} expired idempotency keys",
        output.deleted
    );
    Ok(output)
}
