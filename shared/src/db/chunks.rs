//! Planning the chunks of a job once its files are loaded.

use super::error::DbResult;
use super::pool::{Connection, Database, client};
use super::staging::{self, Chunk};
use super::transaction::{Limits, begin, commit};
use super::{files, jobs, sql};
use crate::domain::buckets::{self, MAX_CHUNKS, Range};
use crate::domain::ids::JobId;
use crate::domain::job::Status;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use std::time::Duration;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

/// A chunk as it stands in `import_chunks`.
#[derive(Debug, Clone)]
pub struct ChunkState {
    pub chunk: Chunk,
    pub staged: i64,
    pub marked: bool,
    pub internal: i64,
    pub existing: i64,
    pub both: i64,
    pub clean: i64,
    pub clean_checksum: i64,
    pub late: i64,
}

impl ChunkState {
    /// `buckets` tells a chunk that is its whole bucket from a part of one.
    fn read(row: &Row, splits: &[Range]) -> Self {
        let range = Range { lower: row.get("lower_bound"), upper: row.get("upper_bound") };
        let bucket = usize::try_from(row.get::<_, i32>("bucket_no")).unwrap_or_default();
        let count = |column| row.get::<_, Option<i64>>(column).unwrap_or_default();
        Self {
            chunk: Chunk {
                number: row.get("chunk_no"),
                bucket,
                whole: splits.get(bucket) == Some(&range),
                range,
            },
            staged: row.get("staged"),
            marked: row.get::<_, &str>("status") == "marked",
            internal: count("internal_duplicates"),
            existing: count("database_duplicates"),
            both: count("both_duplicates"),
            clean: count("clean"),
            clean_checksum: count("clean_checksum"),
            late: count("late_duplicates"),
        }
    }
}

fn bucket_ranges(job: &jobs::Job) -> Vec<Range> {
    buckets::ranges(&Range { lower: None, upper: None }, job.split_points.as_deref().unwrap_or_default())
}

pub async fn list(client: &Client, job: &jobs::Job) -> DbResult<Vec<ChunkState>> {
    let splits = bucket_ranges(job);
    let rows = sql::CHUNKS_LIST.all(client, &[(&job.id.0, Type::UUID)]).await?;
    Ok(rows.iter().map(|row| ChunkState::read(row, &splits)).collect())
}

/// Locks one chunk until the transaction ends: its ghost waits.
pub async fn lock(client: &Client, job: &jobs::Job, number: i32) -> DbResult<Option<ChunkState>> {
    let row = sql::CHUNKS_LOCK.opt(client, &[(&job.id.0, Type::UUID), (&number, Type::INT4)]).await?;
    Ok(row.map(|row| ChunkState::read(&row, &bucket_ranges(job))))
}

/// `loading -> checking`: checks that every file is loaded and cuts staging into chunks.
/// Again with the same attempt, the answer is the same; after `CountMismatch` the chunks are made anew.
pub async fn plan(db: &Database, job_id: JobId, attempt: i32, time_left: Duration) -> StepResult<Vec<i32>> {
    let mut connection = db.connection().await?;
    let job = jobs::get(client(&connection), job_id).await?;
    let recheck = job.status == Status::Checking && job.phase == "recheck";
    if job.attempt != attempt || job.cancel_requested {
        return Err(job.refusal(attempt, Status::Loading));
    }
    match job.status {
        Status::Checking if !recheck => {
            let planned = list(client(&connection), &job).await?;
            return Ok(planned.iter().map(|state| state.chunk.number).collect());
        }
        Status::Loading | Status::Checking => {}
        _ => return Err(job.refusal(attempt, Status::Loading)),
    }
    if recheck && job.recheck_count > jobs::MAX_WAYS_BACK {
        return Err(StepError::new(
            StepErrorKind::CountMismatch,
            format!(
                "production moved {} times while this import was checked; try when it is quiet",
                job.recheck_count
            ),
        ));
    }
    let loaded = files::list(client(&connection), job_id).await?;
    check_loaded(&loaded)?;
    let planned = match cut(&connection, &job, &loaded, time_left).await {
        Err(error) if error.is_missing_table() => {
            drop(connection);
            return Err(jobs::staging_lost(db, job_id, attempt, "a table is gone").await);
        }
        planned => planned?,
    };
    if !save(&mut connection, &job, &planned, time_left).await? {
        let planned = list(client(&connection), &job).await?;
        return Ok(planned.iter().map(|state| state.chunk.number).collect());
    }
    Ok(planned.iter().map(|(chunk, _)| chunk.number).collect())
}

fn check_loaded(files: &[files::ImportFile]) -> StepResult<()> {
    let failed: Vec<&str> = files.iter().filter_map(|file| file.error_message.as_deref()).collect();
    if !failed.is_empty() {
        let shown = failed.iter().take(10).copied().collect::<Vec<_>>().join("; ");
        let more =
            if failed.len() > 10 { format!("; and {} more", failed.len() - 10) } else { String::new() };
        let message = format!(
            "{} of {} files rejected: {shown}{more}. The others stay loaded: correct and retry",
            failed.len(),
            files.len()
        );
        return Err(StepError::new(StepErrorKind::FileRejected, message));
    }
    match files.iter().find(|file| !file.is_loaded()) {
        Some(file) => {
            Err(StepError::new(StepErrorKind::Transient, format!("{} is not loaded yet", file.object.key)))
        }
        None => Ok(()),
    }
}

/// One chunk per bucket; a bucket that came out too big is cut by a sample of its own codes.
async fn cut(
    connection: &Connection,
    job: &jobs::Job,
    loaded: &[files::ImportFile],
    time_left: Duration,
) -> DbResult<Vec<(Chunk, i64)>> {
    let ranges = bucket_ranges(job);
    let mut rows = vec![0i64; ranges.len()];
    for file in loaded {
        for (sum, staged) in rows.iter_mut().zip(file.bucket_rows.iter().flatten()) {
            *sum += staged;
        }
    }
    let mut spare = MAX_CHUNKS.saturating_sub(ranges.len());
    let mut chunks = Vec::new();
    for (bucket, (range, rows)) in ranges.into_iter().zip(rows).enumerate() {
        let parts = buckets::parts(rows, spare);
        let (cut, counts) = if parts > 1 {
            let (points, counts) =
                tokio::time::timeout(time_left, staging::cut(client(connection), job.id, bucket, parts))
                    .await
                    .map_err(|e| super::DbError::new("staging.cut", e))??;
            (buckets::ranges(&range, &points), counts)
        } else {
            (vec![range], vec![rows])
        };
        spare = spare.saturating_sub(cut.len() - 1);
        let whole = cut.len() == 1;
        for (range, staged) in cut.into_iter().zip(counts) {
            let number = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
            chunks.push((Chunk { number, bucket, range, whole }, staged));
        }
    }
    Ok(chunks)
}

/// Writes the plan; `false` when a ghost of this very step was quicker.
async fn save(
    connection: &mut Connection,
    job: &jobs::Job,
    planned: &[(Chunk, i64)],
    time_left: Duration,
) -> StepResult<bool> {
    const NAME: &str = "mark.plan";
    let tx = begin(connection, NAME, Limits { statement: time_left, ..Limits::short() }).await?;
    let moved =
        sql::JOBS_CHECKING.run(tx.client(), &[(&job.id.0, Type::UUID), (&job.attempt, Type::INT4)]).await?;
    if moved == 0 {
        let found = jobs::get(tx.client(), job.id).await?;
        let planned = found.status == Status::Checking && found.phase != "recheck";
        if planned && found.attempt == job.attempt && !found.cancel_requested {
            return Ok(false);
        }
        return Err(found.refusal(job.attempt, Status::Loading));
    }
    sql::CHUNKS_CLEAR.run(tx.client(), &[(&job.id.0, Type::UUID)]).await?;
    let numbers: Vec<i32> = planned.iter().map(|(chunk, _)| chunk.number).collect();
    let bucket_numbers: Vec<i32> =
        planned.iter().map(|(chunk, _)| i32::try_from(chunk.bucket).unwrap_or(i32::MAX)).collect();
    let lower: Vec<Option<&str>> = planned.iter().map(|(chunk, _)| chunk.range.lower.as_deref()).collect();
    let upper: Vec<Option<&str>> = planned.iter().map(|(chunk, _)| chunk.range.upper.as_deref()).collect();
    let staged: Vec<i64> = planned.iter().map(|(_, staged)| *staged).collect();
    sql::CHUNKS_PLAN
        .run(
            tx.client(),
            &[
                (&job.id.0, Type::UUID),
                (&numbers, Type::INT4_ARRAY),
                (&bucket_numbers, Type::INT4_ARRAY),
                (&lower, Type::TEXT_ARRAY),
                (&upper, Type::TEXT_ARRAY),
                (&staged, Type::INT8_ARRAY),
            ],
        )
        .await?;
    commit(tx, NAME).await?;
    Ok(true)
}
