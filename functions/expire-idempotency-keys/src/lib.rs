//! Deletes expired idempotency keys every night. Correctness doesn't depend on it: every use of a key checks its age.

use serde::Serialize;
use shared::db::{Connection, DbResult, Limits, idempotency_keys};
use shared::domain::step::StepResult;
use shared::lambda::{App, Budget};
use std::time::Duration;

/// How many keys one transaction deletes, in a fraction of a second.
pub const BATCH: u32 = 5000;
/// The longest statement of a short transaction. With less time left no further batch is begun.
const ONE_MORE: Duration = Duration::from_secs(10);

/// What was deleted.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    /// How many keys.
    pub deleted: u64,
    /// In how many transactions.
    pub batches: u64,
    /// `false`: time ran out first. The next run goes on.
    pub complete: bool,
}

/// The handler. Its input, the schedule's event, says nothing.
pub async fn handle(app: App, _event: serde_json::Value, budget: Budget) -> StepResult<Output> {
    let mut connection = app.db.connection().await?;
    let mut output = Output::default();
    while !output.complete && (output.batches == 0 || budget.left() > ONE_MORE) {
        let deleted = delete_batch(&mut connection).await?;
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

async fn delete_batch(connection: &mut Connection) -> DbResult<u64> {
    let tx = connection.begin("delete_expired_keys", Limits::short()).await?;
    let deleted = idempotency_keys::delete_expired(&tx, BATCH).await?;
    tx.commit().await?;
    Ok(deleted)
}
