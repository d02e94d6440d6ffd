//! Looks at every chunk again: whether its rows are still there, and which codes entered production since it was marked. What the
//! fields hold was checked by the loader.

use shared::db::chunks::ChunkState;
use shared::db::jobs::Job;
use shared::db::staging::mark as staging;
use shared::db::{Database, DbResult, Limits, Transaction};
use std::time::Duration;

/// What looking again came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recheck {
    /// So many clean codes entered production since the marking.
    Done(i64),
    /// Staging is not what was committed; this was found.
    StagingLost(String),
}

/// Looks at all chunks, half of them on each of two connections.
pub(crate) async fn recheck(
    db: &Database,
    job: &Job,
    marked: &[ChunkState],
    time_left: Duration,
) -> DbResult<Recheck> {
    let (first, second) = marked.split_at(marked.len() / 2);
    let (first, second) =
        tokio::try_join!(look_at(db, job, first, time_left), look_at(db, job, second, time_left))?;
    Ok(match (first, second) {
        (Recheck::Done(first), Recheck::Done(second)) => Recheck::Done(first + second),
        (lost @ Recheck::StagingLost(_), _) | (_, lost) => lost,
    })
}

/// Looks at some of the chunks in one transaction.
async fn look_at(db: &Database, job: &Job, marked: &[ChunkState], time_left: Duration) -> DbResult<Recheck> {
    let mut connection = db.connection().await?;
    let tx = connection.begin("validate", Limits::bulk(time_left)).await?;
    let seen = look_at_each(&tx, job, marked).await;
    // The transaction only reads, so nothing is lost if this fails.
    tx.rollback().await.ok();
    match seen {
        Err(error) if error.is_missing_table() => Ok(Recheck::StagingLost("a table is gone".into())),
        seen => seen,
    }
}

async fn look_at_each(tx: &Transaction<'_>, job: &Job, marked: &[ChunkState]) -> DbResult<Recheck> {
    let mut new = 0;
    for state in marked {
        let (chunk, number) = (&state.chunk, state.chunk.number);
        let rows = staging::count_rows(tx, job.id, chunk).await?;
        if rows != state.staged {
            let found = format!("chunk {number} has {rows} rows, {} were committed", state.staged);
            return Ok(Recheck::StagingLost(found));
        }
        new += count_new(tx, job, state).await?;
    }
    Ok(Recheck::Done(new))
}

/// How many clean codes of a chunk entered production since it was marked. Where production has as many codes in its range as it had
/// then, none did, unless as many left it: then the insert finds them, and records them as late.
async fn count_new(tx: &Transaction<'_>, job: &Job, state: &ChunkState) -> DbResult<i64> {
    if let Some(before) = state.production
        && staging::count_production(tx, job.merchant, &state.chunk).await? == before
    {
        return Ok(0);
    }
    let existing = staging::count_existing(tx, job.id, job.merchant, &state.chunk).await?;
    // Codes may also have left production; they stay marked as duplicates.
    Ok((existing - state.existing).max(0))
}
