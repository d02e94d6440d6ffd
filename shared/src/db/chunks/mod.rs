//! The chunks of an import: ranges of codes that are marked, and later inserted, in one go.

use super::connection::Session;
use super::error::{DbError, DbResult};
use super::jobs::Job;
use super::staging::mark::Marked;
use super::statement::statements;
use crate::domain::buckets::{Chunk, Range};
use crate::domain::ids::JobId;
use tokio_postgres::Row;

statements! {
    "chunks":
    CLEAR = "clear";
    LATE = "late";
    LIST = "list";
    LOCK = "lock";
    MARKED = "marked";
    PLAN = "plan";
}

/// `import_chunks.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkStatus {
    /// Its duplicates are not marked yet.
    Pending,
    /// Its duplicates are in its side table.
    Marked,
}

/// A chunk as it stands in `import_chunks`.
#[derive(Debug, Clone)]
pub struct ChunkState {
    /// Its range of codes.
    pub chunk: Chunk,
    /// Rows of staging.
    pub staged: i64,
    /// Where it stands.
    pub status: ChunkStatus,
    /// Second and later occurrences in the files.
    pub internal: i64,
    /// Codes that were in production.
    pub existing: i64,
    /// Both.
    pub both: i64,
    /// Neither.
    pub clean: i64,
    /// xor of the hashes of the clean codes.
    pub clean_checksum: i64,
    /// Codes of production in its range when it was marked, where they were all read.
    pub production: Option<i64>,
    /// Clean codes that were in production when they were inserted.
    pub late: i64,
}

impl ChunkState {
    /// `buckets` tells a chunk that is its whole bucket from a part of one.
    fn read(row: &Row, buckets: &[Range]) -> DbResult<Self> {
        let range = Range { lower: row.get("lower_bound"), upper: row.get("upper_bound") };
        let bucket = usize::try_from(row.get::<_, i32>("bucket_no")).unwrap_or_default();
        let count = |column| row.get::<_, Option<i64>>(column).unwrap_or_default();
        let status = match row.get("status") {
            "pending" => ChunkStatus::Pending,
            "marked" => ChunkStatus::Marked,
            other => {
                return Err(DbError::defect("chunks.read", format!("`{other}` is no status of a chunk")));
            }
        };
        Ok(Self {
            chunk: Chunk {
                number: row.get("chunk_no"),
                bucket,
                whole: buckets.get(bucket) == Some(&range),
                range,
            },
            staged: row.get("staged"),
            status,
            internal: count("internal_duplicates"),
            existing: count("database_duplicates"),
            both: count("both_duplicates"),
            clean: count("clean"),
            clean_checksum: count("clean_checksum"),
            production: row.get("production"),
            late: count("late_duplicates"),
        })
    }

    /// What its marking found.
    pub fn marked(&self) -> Marked {
        Marked {
            rows: self.staged,
            internal: self.internal,
            existing: self.existing,
            both: self.both,
            clean: self.clean,
            clean_checksum: self.clean_checksum,
            production: self.production,
        }
    }

    /// Whether its duplicates are marked.
    pub fn is_marked(&self) -> bool {
        self.status == ChunkStatus::Marked
    }
}

/// The chunks of an import, in order.
pub async fn list(on: &dyn Session, job: &Job) -> DbResult<Vec<ChunkState>> {
    let buckets = job.bucket_ranges();
    LIST.all(on, &[&job.id]).await?.iter().map(|row| ChunkState::read(row, &buckets)).collect()
}

/// Locks one chunk until the transaction ends: a ghost of its marking waits.
pub async fn lock(on: &dyn Session, job: &Job, number: i32) -> DbResult<Option<ChunkState>> {
    let row = LOCK.opt(on, &[&job.id, &number]).await?;
    row.map(|row| ChunkState::read(&row, &job.bucket_ranges())).transpose()
}

/// Replaces the chunks of an import by these, each with its staged rows.
pub async fn replace(on: &dyn Session, job: JobId, planned: &[(Chunk, i64)]) -> DbResult<()> {
    CLEAR.run_many(on, &[&job]).await?;
    let numbers: Vec<i32> = planned.iter().map(|(chunk, _)| chunk.number).collect();
    let buckets: Vec<i32> =
        planned.iter().map(|(chunk, _)| i32::try_from(chunk.bucket).unwrap_or(i32::MAX)).collect();
    let lower: Vec<Option<&str>> = planned.iter().map(|(chunk, _)| chunk.range.lower.as_deref()).collect();
    let upper: Vec<Option<&str>> = planned.iter().map(|(chunk, _)| chunk.range.upper.as_deref()).collect();
    let staged: Vec<i64> = planned.iter().map(|(_, staged)| *staged).collect();
    let written = PLAN.run_many(on, &[&job, &numbers, &buckets, &lower, &upper, &staged]).await?;
    if usize::try_from(written) == Ok(planned.len()) {
        return Ok(());
    }
    Err(DbError::defect(PLAN.name, format!("{written} of {} chunks were written", planned.len())))
}

/// Keeps what marking one chunk found.
pub async fn record_marked(on: &dyn Session, job: JobId, number: i32, marked: &Marked) -> DbResult<()> {
    let Marked { internal, existing, both, clean, clean_checksum, production, .. } = marked;
    MARKED.run_one(on, &[&job, &number, internal, existing, both, clean, clean_checksum, production]).await
}

/// Keeps how many clean codes of a chunk were in production when it was inserted.
pub async fn record_late(on: &dyn Session, job: JobId, number: i32, late: i64) -> DbResult<()> {
    LATE.run_one(on, &[&job, &number, &late]).await
}
