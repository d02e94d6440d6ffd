//! What exports are made of: bucket by bucket, each in a short transaction of its own, counted against what the
//! marking has committed.

use super::chunks;
use super::error::{DbError, in_time};
use super::jobs::{self, Job};
use super::pool::Connection;
use super::staging::export::{self, Bucket};
use super::transaction::{Limits, Transaction, begin, commit};
use crate::domain::ids::{JobId, MerchantId};
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use bytes::Bytes;
use futures_util::StreamExt;
use std::pin::Pin;
use std::time::Duration;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, CopyOutStream};

const NAME: &str = "export";

/// Which rows of staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    Duplicates,
    All,
}

/// One bucket, and how many rows it must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    number: usize,
    chunks: Vec<i32>,
    staged: i64,
    duplicates: i64,
}

impl Part {
    pub fn expected(&self, rows: Rows) -> i64 {
        match rows {
            Rows::Duplicates => self.duplicates,
            Rows::All => self.staged,
        }
    }
}

/// The marks of a job as they stood when an export began.
#[derive(Debug, Clone)]
pub struct Marks {
    job: Job,
    pub parts: Vec<Part>,
}

/// Reads what is to be exported. `StagingLost` when there is no staging, or no marks in it.
pub async fn marks(client: &Client, job: JobId) -> StepResult<Marks> {
    let job = jobs::get(client, job).await?;
    let mut parts: Vec<Part> = Vec::new();
    let states = chunks::list(client, &job).await?;
    if !job.staging_created || states.is_empty() || states.iter().any(|state| !state.marked) {
        return Err(lost(job.id, "it was cleared, or is not marked"));
    }
    for state in states {
        let (number, chunk) = (state.chunk.bucket, state.chunk.number);
        let index = parts.iter().position(|part| part.number == number).unwrap_or_else(|| {
            parts.push(Part { number, chunks: Vec::new(), staged: 0, duplicates: 0 });
            parts.len() - 1
        });
        let part = &mut parts[index];
        part.chunks.push(chunk);
        part.staged += state.staged;
        part.duplicates += state.internal + state.existing - state.both + state.late;
    }
    Ok(Marks { job, parts })
}

impl Marks {
    pub fn total(&self, rows: Rows) -> i64 {
        self.parts.iter().map(|part| part.expected(rows)).sum()
    }

    /// Whether a bucket gave what the marking has committed. `StagingLost` if not: the server restarted.
    pub async fn check_count(&self, client: &Client, part: &Part, rows: Rows, read: i64) -> StepResult<()> {
        let expected = part.expected(rows);
        if read == expected {
            return Ok(());
        }
        self.check_unchanged(client).await?;
        Err(lost(self.job.id, &format!("bucket {} gave {read} rows, {expected} were committed", part.number)))
    }

    /// `Transient` if the job was marked or inserted since: then the export begins anew.
    pub async fn check_unchanged(&self, client: &Client) -> StepResult<()> {
        let now = jobs::get(client, self.job.id).await?;
        let key = |job: &Job| {
            (
                job.attempt,
                job.restage_count,
                job.recheck_count,
                job.staging_created,
                job.inserted.map(|i| i.late),
            )
        };
        let (before, after) = (key(&self.job), key(&now));
        // An insert that found nothing late has changed no mark.
        let same_late = before.4 == after.4 || (before.4.is_none() && after.4 == Some(0));
        if (before.0, before.1, before.2, before.3) == (after.0, after.1, after.2, after.3) && same_late {
            return Ok(());
        }
        let message = format!("job {} went on while it was exported; exporting again", self.job.id);
        Err(StepError::new(StepErrorKind::Transient, message))
    }
}

fn lost(job: JobId, found: &str) -> StepError {
    let message = format!("staging of job {job} is not there ({found}): nothing can be exported from it");
    StepError::new(StepErrorKind::StagingLost, message)
}

/// Lines of CSV as they come from the server, in a transaction of their own.
pub struct Lines<'a> {
    tx: Transaction<'a>,
    stream: Pin<Box<CopyOutStream>>,
    rows: i64,
}

impl<'a> Lines<'a> {
    fn new(tx: Transaction<'a>, stream: CopyOutStream) -> Self {
        Self { tx, stream: Box::pin(stream), rows: 0 }
    }

    /// The next line. One message is one row (PostgreSQL documentation, message flow, "COPY Operations").
    pub async fn next(&mut self) -> StepResult<Option<Bytes>> {
        let Some(line) = self.stream.next().await else { return Ok(None) };
        self.rows += 1;
        Ok(Some(in_time(line.map_err(|e| DbError::new("export.copy", e)))?))
    }

    /// Ends the transaction. Returns how many lines there were.
    pub async fn end(self) -> StepResult<i64> {
        drop(self.stream);
        commit(self.tx, NAME).await?;
        Ok(self.rows)
    }
}

/// One bucket's rows. `StagingLost` where a table is gone.
pub async fn read_part<'a>(
    connection: &'a mut Connection,
    marks: &Marks,
    part: &Part,
    rows: Rows,
    time_left: Duration,
) -> StepResult<Lines<'a>> {
    let Job { id: job, merchant, .. } = marks.job;
    let of = Bucket { job, merchant: merchant.0, number: part.number, chunks: &part.chunks };
    let tx = begin(connection, NAME, Limits::bulk(time_left)).await?;
    let stream = match rows {
        Rows::Duplicates => export::duplicates(&tx, of).await,
        Rows::All => export::report(&tx, of).await,
    };
    match stream {
        Ok(stream) => Ok(Lines::new(tx, stream)),
        Err(error) if error.is_missing_table() => Err(lost(job, "a table is gone")),
        Err(error) => Err(error.into()),
    }
}

/// The codes that a job has in production: after a rollback those that it kept.
pub async fn read_codes<'a>(
    connection: &'a mut Connection,
    job: JobId,
    merchant: MerchantId,
    time_left: Duration,
) -> StepResult<Lines<'a>> {
    let tx = begin(connection, NAME, Limits::bulk(time_left)).await?;
    let stream = export::codes(&tx, job, merchant.0).await?;
    Ok(Lines::new(tx, stream))
}

/// A record that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub file: String,
    pub record_number: i64,
    pub line_number: i64,
    pub reason: String,
    pub detail: Option<String>,
    /// The first 8 KiB of the record.
    pub raw: Vec<u8>,
}

/// A job's rejects, file by file in order of the records.
pub struct Rejects<'a> {
    tx: Transaction<'a>,
    rows: Pin<Box<BinaryCopyOutStream>>,
}

pub async fn read_rejects<'a>(
    connection: &'a mut Connection,
    job: JobId,
    time_left: Duration,
) -> StepResult<Rejects<'a>> {
    let tx = begin(connection, NAME, Limits::bulk(time_left)).await?;
    let types = [Type::TEXT, Type::INT8, Type::INT8, Type::TEXT, Type::TEXT, Type::BYTEA];
    let stream = export::rejects(&tx, job).await?;
    Ok(Rejects { tx, rows: Box::pin(BinaryCopyOutStream::new(stream, &types)) })
}

impl Rejects<'_> {
    pub async fn next(&mut self) -> StepResult<Option<Reject>> {
        let Some(row) = self.rows.next().await else { return Ok(None) };
        let row = in_time(row.map_err(|e| DbError::new("export.rejects", e)))?;
        Ok(Some(Reject {
            file: row.get(0),
            record_number: row.get(1),
            line_number: row.get(2),
            reason: row.get(3),
            detail: row.get(4),
            raw: row.get(5),
        }))
    }

    pub async fn end(self) -> StepResult<()> {
        drop(self.rows);
        Ok(commit(self.tx, NAME).await?)
    }
}
