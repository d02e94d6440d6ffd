//! Deletes every night what nothing needs any more: expired idempotency keys, messages that were delivered or given up, tasks that
//! a later one has replaced, and the progress of jobs that have ended. Correctness doesn't depend on it: every use of a key checks
//! its age.

use serde::Serialize;
use shared::db::{Connection, DbResult, Limits, idempotency_keys, outbox, progress, tasks};
use shared::domain::step::StepResult;
use shared::lambda::{App, Budget};
use std::time::Duration;

/// How many rows one transaction deletes, in a fraction of a second.
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
    /// How many messages.
    pub messages: u64,
    /// How many tasks.
    pub tasks: u64,
    /// How many rows of progress.
    pub progress: u64,
    /// `false`: time ran out first. The next run goes on.
    pub complete: bool,
}

/// What is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Old {
    Keys,
    Messages,
    Tasks,
    Progress,
}

/// How many connections to the database it holds. It only deletes.
pub const CONNECTIONS: usize = 1;

/// The handler. Its input, the schedule's event, says nothing.
pub async fn handle(app: App, _event: serde_json::Value, budget: Budget) -> StepResult<Output> {
    let mut connection = app.db.connection().await?;
    let mut output = Output::default();
    let mut left = vec![Old::Keys, Old::Messages, Old::Tasks, Old::Progress];
    // A batch of each in turn: none waits for the end of another.
    while !left.is_empty() && (output.batches == 0 || budget.left() > ONE_MORE) {
        let mut more = Vec::new();
        for old in left {
            let deleted = delete_batch(&mut connection, old).await?;
            match old {
                Old::Keys => {
                    output.deleted += deleted;
                    output.batches += 1;
                }
                Old::Messages => output.messages += deleted,
                Old::Tasks => output.tasks += deleted,
                Old::Progress => output.progress += deleted,
            }
            if deleted == u64::from(BATCH) {
                more.push(old);
            }
        }
        left = more;
    }
    output.complete = left.is_empty();
    tracing::info!(
        batches = output.batches,
        messages = output.messages,
        tasks = output.tasks,
        progress = output.progress,
        complete = output.complete,
        "Cleared {} expired idempotency keys",
        output.deleted
    );
    Ok(output)
}

async fn delete_batch(connection: &mut Connection, old: Old) -> DbResult<u64> {
    let tx = connection.begin("delete_old", Limits::short()).await?;
    let deleted = match old {
        Old::Keys => idempotency_keys::delete_expired(&tx, BATCH).await?,
        Old::Messages => outbox::delete_settled(&tx, BATCH).await?,
        Old::Tasks => tasks::delete_replaced(&tx, BATCH).await?,
        Old::Progress => progress::delete_finished(&tx, BATCH).await?,
    };
    tx.commit().await?;
    Ok(deleted)
}
