//! Marking one chunk: one short transaction that can run twice, and beside its own ghost.

use super::pool::{Database, client};
use super::staging::{self, Marked};
use super::transaction::{Limits, begin, commit};
use super::validate::out_of_time;
use super::{chunks, jobs, sql};
use crate::domain::ids::JobId;
use crate::domain::job::Status;
use crate::domain::step::{StepError, StepResult};
use std::time::Duration;
use tokio_postgres::types::Type;

const NAME: &str = "mark.chunk";

/// Marks internal and existing duplicates of one chunk.
pub async fn mark_chunk(
    db: &Database,
    job_id: JobId,
    attempt: i32,
    number: i32,
    time_left: Duration,
) -> StepResult<Marked> {
    let mut connection = db.connection().await?;
    let job = jobs::expect(client(&connection), job_id, attempt, Status::Checking).await?;
    let tx = begin(&mut connection, NAME, Limits::bulk(time_left)).await?;
    let Some(state) = chunks::lock(tx.client(), &job, number).await? else {
        // The plan went with the staging that another chunk has meanwhile found lost: then the job says so.
        jobs::expect(tx.client(), job_id, attempt, Status::Checking).await?;
        return Err(StepError::invalid(format!("job {job_id} has no chunk {number}")));
    };
    if state.marked {
        return Ok(Marked {
            rows: state.staged,
            internal: state.internal,
            existing: state.existing,
            both: state.both,
            clean: state.clean,
            clean_checksum: state.clean_checksum,
        });
    }
    let marked = match staging::mark(&tx, job_id, job.merchant.0, &state.chunk).await {
        Err(error) if error.is_missing_table() => {
            tx.rollback().await.ok();
            drop(connection);
            return Err(jobs::staging_lost(db, job_id, attempt, "a table is gone").await);
        }
        // Its bound is the time that the function has left: another try would have no more.
        Err(error) if error.is_timeout() => {
            return Err(out_of_time(&format!("chunk {number} takes longer than the function may run")));
        }
        marked => marked?,
    };
    if marked.rows != state.staged {
        tx.rollback().await.ok();
        drop(connection);
        let found = format!("chunk {number} has {} rows, {} were committed", marked.rows, state.staged);
        return Err(jobs::staging_lost(db, job_id, attempt, &found).await);
    }
    sql::CHUNKS_MARKED
        .run(
            tx.client(),
            &[
                (&job_id.0, Type::UUID),
                (&number, Type::INT4),
                (&marked.internal, Type::INT8),
                (&marked.existing, Type::INT8),
                (&marked.both, Type::INT8),
                (&marked.clean, Type::INT8),
                (&marked.clean_checksum, Type::INT8),
            ],
        )
        .await?;
    jobs::fence(tx.client(), job_id, attempt, Status::Checking).await?;
    commit(tx, NAME).await?;
    Ok(marked)
}
