//! Rejected records: kept as they were, with the reason.

use super::binary::BinaryBuffer;
use super::connection::Session;
use super::copy::{BinaryRows, copy_in};
use super::error::DbResult;
use super::statement::statements;
use super::transaction::Transaction;
use crate::domain::ids::JobId;
use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

statements! {
    "rejects":
    CLEAR = "clear";
    DELETE_EXPIRED = "delete_expired";
    FIND_EXPIRED = "find_expired";
    NOT_KEPT = "not_kept";
    ROOM = "room";
}

/// How many bytes of rejects of one file are kept: 8,000 of the largest, or all 100,000 of records of 500 bytes.
pub const MAX_FILE_BYTES: i64 = 64 * 1024 * 1024;
/// How many bytes of rejects of one import are kept, twice that while files load side by side.
pub const MAX_JOB_BYTES: i64 = 512 * 1024 * 1024;
/// What a row takes beside its texts, with its place in the index.
const ROW_BYTES: usize = 120;

/// The rejects of a file that have a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptRejects {
    /// How many.
    pub rows: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// How many bytes of rejects a file may keep, while so many files of its import load at a time.
pub async fn find_room(on: &dyn Session, job: JobId, file_no: i32, loading: u32) -> DbResult<i64> {
    let loading = i64::from(loading.max(1));
    Ok(ROOM.one(on, &[&job, &file_no, &MAX_FILE_BYTES, &MAX_JOB_BYTES, &loading]).await?.get("room"))
}

/// A file that had more rejects than are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotKept {
    /// The number of the file.
    pub file_no: i32,
    /// Its key.
    pub file: String,
    /// How many were counted and not kept.
    pub rejects: i64,
}

/// The files of a job that had more rejects than are kept.
pub async fn list_not_kept(on: &dyn Session, job: JobId) -> DbResult<Vec<NotKept>> {
    let rows = NOT_KEPT.all(on, &[&job]).await?;
    let read = |row: &Row| NotKept {
        file_no: row.get("file_no"),
        file: row.get("key"),
        rejects: row.get("missing"),
    };
    Ok(rows.iter().map(read).collect())
}

/// Deletes the rejects of a file that is loaded again, or of what it replaces, and returns how many there were.
pub async fn clear(on: &dyn Session, job: JobId, file_no: i32) -> DbResult<u64> {
    CLEAR.run_many(on, &[&job, &file_no]).await
}

/// Jobs that have rejects, though their staging was cleared.
pub async fn find_expired(on: &dyn Session) -> DbResult<Vec<JobId>> {
    Ok(FIND_EXPIRED.all(on, &[]).await?.iter().map(|row| JobId(row.get("id"))).collect())
}

/// Deletes at most `batch` rejects of such a job, and returns how many. A retry that has begun keeps its own.
pub async fn delete_expired(on: &dyn Session, job: JobId, batch: u32) -> DbResult<u64> {
    DELETE_EXPIRED.run_many(on, &[&job, &i64::from(batch)]).await
}

/// How much of a rejected record is kept, in bytes.
pub const RAW_BYTES: usize = 8 * 1024;

/// One record that was not staged.
#[derive(Debug)]
pub struct RejectedRecord<'a> {
    /// Its place below the header, from 1.
    pub record_number: i64,
    /// The physical line on which it begins, from 1.
    pub line_number: i64,
    /// The name of the rule that it breaks.
    pub reason: &'static str,
    /// What was found, for a person.
    pub detail: &'a str,
    /// The beginning of the record, at most `RAW_BYTES`.
    pub raw: &'a [u8],
}

impl RejectedRecord<'_> {
    /// How many bytes its row takes.
    pub fn row_bytes(&self, file: &str) -> i64 {
        i64::try_from(ROW_BYTES + file.len() + self.detail.len() + self.raw.len()).unwrap_or(i64::MAX)
    }
}

/// Rejects on their way into `import_rejects`.
pub type RejectBuffer = BinaryBuffer<RejectedRecord<'static>>;

impl RejectBuffer {
    /// Appends one reject.
    pub fn push(&mut self, job: JobId, file_no: i32, file: &str, reject: &RejectedRecord<'_>) {
        self.begin_row(8);
        self.put_bytes(job.0.as_bytes());
        self.put_i64(Some(reject.record_number));
        self.put_i64(Some(reject.line_number));
        self.put_i32(Some(file_no));
        self.put_text(Some(file));
        self.put_text(Some(reject.reason));
        // A text column takes no NUL, whatever was found in the file.
        self.put_text(Some(&reject.detail.replace('\0', "\u{fffd}")));
        self.put_bytes(reject.raw);
    }
}

/// Sends one buffer, and returns how many rows the server took.
pub async fn copy(tx: &Transaction<'_>, data: Bytes) -> DbResult<u64> {
    let sql = "-- rejects.copy
COPY onceload.import_rejects (job_id, record_number, line_number, file_no, file, reason, detail, raw) FROM STDIN WITH (FORMAT binary)";
    copy_in(tx, "rejects.copy", sql, data).await
}

/// A reject as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReject {
    /// The number of its file.
    pub file_no: i32,
    /// The key of its file.
    pub file: String,
    /// Its place below the header, from 1.
    pub record_number: i64,
    /// The physical line on which it begins, from 1.
    pub line_number: i64,
    /// The name of the rule that it breaks.
    pub reason: String,
    /// What was found, for a person.
    pub detail: Option<String>,
    /// The first 8 KiB of the record.
    pub raw: Vec<u8>,
}

/// The rejects of a job, file by file in order of the records.
pub struct RejectRows<'a>(BinaryRows<'a>);

/// Begins to read the rejects of a job. Those of a file that was mended and is not loaded yet are void.
pub async fn read<'a>(tx: &'a Transaction<'_>, job: JobId) -> DbResult<RejectRows<'a>> {
    let types = [Type::INT4, Type::TEXT, Type::INT8, Type::INT8, Type::TEXT, Type::TEXT, Type::BYTEA];
    let sql = format!(
        "-- rejects.read
COPY (SELECT r.file_no, r.file, r.record_number, r.line_number, r.reason, r.detail, r.raw
        FROM onceload.import_rejects r JOIN onceload.import_files f USING (job_id, file_no)
       WHERE r.job_id = '{job}' AND f.records IS NOT NULL
       ORDER BY r.file_no, r.record_number) TO STDOUT WITH (FORMAT binary)"
    );
    Ok(RejectRows(BinaryRows::read_binary(tx, "rejects.read", &sql, &types).await?))
}

impl RejectRows<'_> {
    /// The next reject.
    pub async fn next(&mut self) -> DbResult<Option<StoredReject>> {
        Ok(self.0.next().await?.map(|row| StoredReject {
            file_no: row.get(0),
            file: row.get(1),
            record_number: row.get(2),
            line_number: row.get(3),
            reason: row.get(4),
            detail: row.get(5),
            raw: row.get(6),
        }))
    }
}
