//! The transaction that loads one file: its marker first, then what it replaces goes, then its rows, then its counts and
//! the fence.

use crate::pipeline::Ending;
use bytes::Bytes;
use shared::db::files::{self, FileCounts, ImportFile};
use shared::db::jobs::{self, Job};
use shared::db::rejects::KeptRejects;
use shared::db::staging::copy::{copy_rows, delete_rows};
use shared::db::{Connection, DbError, DbResult, Limits, Transaction, rejects};
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::StepResult;
use std::time::Duration;

/// A file that is being loaded.
pub(crate) struct FileLoad<'a> {
    tx: Transaction<'a>,
    job: JobId,
    attempt: i32,
    file_no: i32,
    /// Staged rows per bucket.
    bucket_rows: Vec<i64>,
    /// How many rejects were copied.
    kept: i64,
    /// How many bytes of rejects the file may keep.
    room: i64,
}

impl<'a> FileLoad<'a> {
    /// Takes the file, or `None` when it is loaded already. A second loader of the file waits here; if the first takes
    /// longer than the lock time-out, the result is `Transient`.
    pub(crate) async fn begin(
        connection: &'a mut Connection,
        job: &Job,
        file: &ImportFile,
        loading: u32,
        time_left: Duration,
    ) -> StepResult<Option<Self>> {
        let tx = connection.begin("load.file", Limits::bulk(time_left)).await?;
        let Some(before) = files::take(&tx, job.id, file.file_no).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        // The rows of the replaced file leave staging in the transaction that loads the new one. If it ends early, both stay as
        // they were.
        for (bucket, rows) in before.into_iter().enumerate() {
            if rows > 0 {
                delete_rows(&tx, job.id, bucket, file.file_no).await?;
            }
        }
        // Rejects are logged: those of a load before a restart of the server are still there, too.
        rejects::clear(&tx, job.id, file.file_no).await?;
        let room = rejects::find_room(&tx, job.id, file.file_no, loading).await?;
        Ok(Some(Self {
            tx,
            job: job.id,
            attempt: job.attempt,
            file_no: file.file_no,
            bucket_rows: vec![0; job.buckets()],
            kept: 0,
            room,
        }))
    }

    /// Copies rows into a bucket.
    pub(crate) async fn copy_rows(&mut self, bucket: usize, data: Bytes, expected: u64) -> DbResult<()> {
        let copied = copy_rows(&self.tx, self.job, bucket, data).await?;
        let rows = check_count("staging.copy", copied, expected)?;
        if let Some(sum) = self.bucket_rows.get_mut(bucket) {
            *sum += rows;
        }
        Ok(())
    }

    /// How many bytes of rejects the file may keep.
    pub(crate) fn room(&self) -> i64 {
        self.room
    }

    /// Copies rejects.
    pub(crate) async fn copy_rejects(&mut self, data: Bytes, expected: u64) -> DbResult<()> {
        let copied = rejects::copy(&self.tx, data).await?;
        self.kept += check_count("rejects.copy", copied, expected)?;
        Ok(())
    }

    /// Tells the server that the transaction is not abandoned.
    pub(crate) async fn keep_alive(&self) -> DbResult<()> {
        self.tx.keep_alive().await
    }

    /// Gives the load up: nothing of the file is staged.
    pub(crate) async fn give_up(self) -> DbResult<()> {
        self.tx.rollback().await
    }

    /// Writes the counts, checks that this attempt still holds, and commits. Refused, it rolls back.
    pub(crate) async fn finish(self, ending: &Ending) -> StepResult<FileCounts> {
        let staged: i64 = self.bucket_rows.iter().sum();
        let skipped = ending.skipped;
        let rejected = ending.findings.rejected_by_reason.values().sum();
        let counts = FileCounts { records: staged + rejected + skipped, staged, rejected, skipped };
        if let Err(error) = self.record(&counts, ending).await {
            // If this fails, the connection is closed, and the server rolls back.
            self.give_up().await.ok();
            return Err(error);
        }
        self.tx.commit().await?;
        Ok(counts)
    }

    async fn record(&self, counts: &FileCounts, ending: &Ending) -> StepResult<()> {
        let kept = KeptRejects { rows: self.kept, bytes: ending.reject_bytes };
        let (tx, job, file_no) = (&self.tx, self.job, self.file_no);
        files::record_loaded(tx, job, file_no, counts, &ending.findings, &self.bucket_rows, &kept).await?;
        jobs::fence(&self.tx, self.job, self.attempt, Status::Loading).await
    }
}

fn check_count(statement: &'static str, copied: u64, expected: u64) -> DbResult<i64> {
    match i64::try_from(copied) {
        Ok(rows) if copied == expected => Ok(rows),
        _ => Err(DbError::defect(statement, format!("{expected} rows were sent, {copied} arrived"))),
    }
}
