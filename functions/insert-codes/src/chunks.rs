//! Inserts the clean codes chunk by chunk, and counts what became of them.

use crate::ahead::SortAhead;
use crate::stop::Stop;
use shared::db::adoption::{self, Fillable};
use shared::db::chunks::{self, ChunkState};
use shared::db::jobs::{Inserted, Job};
use shared::db::progress::Watch;
use shared::db::staging::insert::{self as staging, InsertedAround};
use shared::db::staging::sort::SortRun;
use shared::db::{SPLIT, Transaction};
use shared::domain::late::is_too_late;
use shared::domain::pace::Pace;
use std::time::Duration;

/// Inserts every chunk that has clean codes. Between two chunks it stops if the import was cancelled, can't finish in
/// time, or has met more late duplicates than an approval covers.
pub(crate) async fn insert_chunks(
    tx: &mut Transaction<'_>,
    job: &Job,
    marked: &[ChunkState],
    watch: &Watch,
    ahead: &mut SortAhead<'_>,
    time_left: Duration,
) -> Result<Inserted, Stop> {
    let clean: i64 = marked.iter().map(|state| state.clean).sum();
    let mut pace = Pace::start("inserting", clean, "codes", time_left, SPLIT);
    let (mut codes, mut late, mut checksum) = (0, 0, job.clean_checksum.unwrap_or_default());
    let states: Vec<&ChunkState> = marked.iter().filter(|state| state.clean > 0).collect();
    if states.len() > 1 {
        ahead.begin().await;
    }
    let columns = adoption::list_fillable(tx).await?;
    let mut sorted = None;
    for (n, state) in states.iter().enumerate() {
        watch.check()?;
        let next = states.get(n + 1).map(|next| &next.chunk);
        let (done, next_sorted) =
            tokio::join!(insert_chunk(tx, job, state, &columns, sorted), ahead.sort(next));
        let done = done?;
        sorted = next_sorted;
        if done.inserted + done.late != state.clean {
            let found = format!(
                "chunk {} gave {} rows, {} were marked clean",
                state.chunk.number,
                done.inserted + done.late,
                state.clean
            );
            return Err(Stop::StagingLost(found));
        }
        codes += done.inserted;
        late += done.late;
        checksum ^= done.late_checksum;
        if is_too_late(late, clean) {
            let found = format!("{late} of {clean} clean codes are in production by now");
            return Err(Stop::ProductionMoved(found));
        }
        watch.set_rows(codes);
        pace.check(codes + late)?;
    }
    Ok(Inserted { codes, late, checksum: Some(checksum) })
}

/// A plain INSERT under a savepoint, which is the fastest. If it meets a code that is in production by now, the chunk is rolled
/// back to the savepoint and inserted around such codes.
async fn insert_chunk(
    tx: &mut Transaction<'_>,
    job: &Job,
    state: &ChunkState,
    columns: &[Fillable],
    sorted: Option<SortRun>,
) -> Result<InsertedAround, Stop> {
    let savepoint = tx.savepoint("chunk").await?;
    match staging::insert_clean(&savepoint, job.id, job.merchant, &state.chunk, columns, sorted).await {
        Ok(inserted) => {
            savepoint.commit().await?;
            let inserted = i64::try_from(inserted).unwrap_or(i64::MAX);
            Ok(InsertedAround { inserted, late: 0, late_checksum: 0 })
        }
        Err(error) if error.is_unique_violation() => {
            savepoint.rollback().await?;
            let done = staging::insert_around(tx, job.id, job.merchant, &state.chunk, columns).await?;
            chunks::record_late(tx, job.id, state.chunk.number, done.late).await?;
            Ok(done)
        }
        Err(error) => {
            // The caller rolls the whole transaction back; the reason is this error, not what comes after it.
            savepoint.rollback().await.ok();
            Err(error.into())
        }
    }
}
