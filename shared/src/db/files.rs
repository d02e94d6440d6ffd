//! The files of a job: frozen when it opens, loaded one transaction each.

use super::error::{DbError, DbResult};
use super::pool::{Connection, client};
use super::rows::Param;
use super::staging::{self, CopyBuffer};
use super::transaction::{Limits, Transaction, begin, commit};
use super::{jobs, sql};
use crate::domain::fault::Fault;
use crate::domain::ids::JobId;
use crate::domain::job::Status;
use crate::domain::layout::Layout;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use bytes::Bytes;
use serde::Serialize;
use std::time::Duration;
use tokio_postgres::types::{Json, Type};
use tokio_postgres::{Client, Row};

/// An object as it was when the job opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenObject {
    pub key: String,
    pub version_id: Option<String>,
    pub etag: String,
    pub bytes: i64,
}

/// One file of a job.
#[derive(Debug, Clone)]
pub struct ImportFile {
    pub file_no: i32,
    pub object: FrozenObject,
    pub status: String,
    pub layout: Option<Layout>,
    pub counts: Option<FileCounts>,
    pub bucket_rows: Option<Vec<i64>>,
    pub error_reason: Option<String>,
    pub error_message: Option<String>,
}

/// Where the records of a file went. `records = staged + rejected + skipped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FileCounts {
    pub records: i64,
    pub staged: i64,
    pub rejected: i64,
    pub skipped: i64,
}

impl ImportFile {
    fn read(row: &Row) -> Self {
        let records: Option<i64> = row.get("records");
        Self {
            file_no: row.get("file_no"),
            object: FrozenObject {
                key: row.get("key"),
                version_id: row.get("version_id"),
                etag: row.get("etag"),
                bytes: row.get("bytes"),
            },
            status: row.get("status"),
            layout: row.get::<_, Option<Json<Layout>>>("layout").map(|json| json.0),
            counts: records.map(|records| FileCounts {
                records,
                staged: row.get("staged"),
                rejected: row.get("rejected"),
                skipped: row.get("skipped"),
            }),
            bucket_rows: row.get("bucket_rows"),
            error_reason: row.get("error_reason"),
            error_message: row.get("error_message"),
        }
    }

    pub fn is_loaded(&self) -> bool {
        self.status == "loaded"
    }
}

pub async fn list(client: &Client, job: JobId) -> DbResult<Vec<ImportFile>> {
    Ok(sql::FILES_LIST.all(client, &[(&job.0, Type::UUID)]).await?.iter().map(ImportFile::read).collect())
}

pub async fn find(client: &Client, job: JobId, file_no: i32) -> DbResult<Option<ImportFile>> {
    let row = sql::FILES_ONE.opt(client, &[(&job.0, Type::UUID), (&file_no, Type::INT4)]).await?;
    Ok(row.as_ref().map(ImportFile::read))
}

/// What became of freezing a job's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freeze {
    Frozen,
    /// The same objects with the same mapping are being imported by that job.
    ActiveElsewhere(JobId),
}

/// Freezes the files: what is uploaded later belongs to later jobs. `objects` in order of their keys.
pub async fn freeze(
    connection: &mut Connection,
    job: &jobs::Job,
    objects: &[FrozenObject],
    fingerprint: &str,
) -> StepResult<Freeze> {
    const NAME: &str = "open.freeze";
    let tx = begin(connection, NAME, Limits::short()).await?;
    let frozen = sql::JOBS_FREEZE
        .run(tx.client(), &[(&job.id.0, Type::UUID), (&job.attempt, Type::INT4), (&fingerprint, Type::TEXT)])
        .await;
    match frozen {
        Ok(1) => {}
        Ok(_) => {
            let found = jobs::get(tx.client(), job.id).await?;
            // A ghost of this very step was quicker.
            return if found.frozen {
                Ok(Freeze::Frozen)
            } else {
                Err(found.refusal(job.attempt, Status::Pending))
            };
        }
        Err(error) if error.constraint() == Some("codes_import_jobs_active_source") => {
            drop(tx);
            let params = &[(&job.merchant.0 as _, Type::UUID), (&fingerprint as _, Type::TEXT)];
            return match sql::JOBS_ACTIVE_SOURCE.opt(client(connection), params).await? {
                Some(row) => Ok(Freeze::ActiveElsewhere(JobId(row.get("id")))),
                None => {
                    Err(StepError::new(StepErrorKind::Transient, "the same import has just ended; try again"))
                }
            };
        }
        Err(error) => return Err(error.into()),
    }
    insert(tx.client(), job.id, objects).await?;
    commit(tx, NAME).await?;
    Ok(Freeze::Frozen)
}

/// Writes the frozen files. `objects` in order of their keys: their rank is the file's number.
pub async fn insert(client: &Client, job: JobId, objects: &[FrozenObject]) -> DbResult<()> {
    let numbers: Vec<i32> = (1..).take(objects.len()).collect();
    let keys: Vec<&str> = objects.iter().map(|o| o.key.as_str()).collect();
    let versions: Vec<Option<&str>> = objects.iter().map(|o| o.version_id.as_deref()).collect();
    let etags: Vec<&str> = objects.iter().map(|o| o.etag.as_str()).collect();
    let bytes: Vec<i64> = objects.iter().map(|o| o.bytes).collect();
    let params: &[Param<'_>] = &[
        (&job.0, Type::UUID),
        (&numbers, Type::INT4_ARRAY),
        (&keys, Type::TEXT_ARRAY),
        (&versions, Type::TEXT_ARRAY),
        (&etags, Type::TEXT_ARRAY),
        (&bytes, Type::INT8_ARRAY),
    ];
    sql::FILES_FREEZE.run(client, params).await.map(|_| ())
}

/// Keeps what the headers said.
pub async fn set_layouts(client: &Client, job: JobId, layouts: &[(i32, Layout)]) -> DbResult<()> {
    let numbers: Vec<i32> = layouts.iter().map(|(number, _)| *number).collect();
    let values: Vec<Json<&Layout>> = layouts.iter().map(|(_, layout)| Json(layout)).collect();
    sql::FILES_SET_LAYOUTS
        .run(client, &[(&job.0, Type::UUID), (&numbers, Type::INT4_ARRAY), (&values, Type::JSONB_ARRAY)])
        .await
        .map(|_| ())
}

/// Notes why a file could not be loaded. Nothing of it is staged.
pub async fn fail(
    client: &Client,
    job: JobId,
    attempt: i32,
    file_no: i32,
    fault: &Fault,
    message: &str,
) -> DbResult<()> {
    sql::FILES_FAILED
        .run(
            client,
            &[
                (&job.0, Type::UUID),
                (&file_no, Type::INT4),
                (&attempt, Type::INT4),
                (&fault.reason.as_str(), Type::TEXT),
                (&message, Type::TEXT),
            ],
        )
        .await
        .map(|_| ())
}

/// The transaction that loads one file: its marker first, then its rows, then its counts and the fence.
pub struct FileLoad<'a> {
    tx: Transaction<'a>,
    job: JobId,
    attempt: i32,
    file_no: i32,
    rows: Vec<i64>,
    rejected: i64,
}

const LOAD: &str = "load.file";

impl<'a> FileLoad<'a> {
    /// Takes the file, or `None` when it is loaded already. A second loader of the file waits here; when the
    /// first takes longer than the lock time-out, the answer is `Transient`.
    pub async fn begin(
        connection: &'a mut Connection,
        job: &jobs::Job,
        file: &ImportFile,
        time_left: Duration,
    ) -> StepResult<Option<Self>> {
        let tx = begin(connection, LOAD, Limits::bulk(time_left)).await?;
        let claimed = sql::FILES_CLAIM
            .run(tx.client(), &[(&job.id.0, Type::UUID), (&file.file_no, Type::INT4)])
            .await?;
        if claimed == 0 {
            return Ok(None);
        }
        // A load before a restart of the server left its rejects, which are logged.
        sql::REJECTS_CLEAR
            .run(tx.client(), &[(&job.id.0, Type::UUID), (&file.object.key, Type::TEXT)])
            .await?;
        Ok(Some(Self {
            tx,
            job: job.id,
            attempt: job.attempt,
            file_no: file.file_no,
            rows: vec![0; job.buckets()],
            rejected: 0,
        }))
    }

    /// Copies rows into a bucket.
    pub async fn rows(&mut self, bucket: usize, data: Bytes, expected: u64) -> DbResult<()> {
        let copied = staging::copy_rows(&self.tx, self.job, bucket, data).await?;
        check_count("staging.copy", copied, expected)?;
        if let Some(rows) = self.rows.get_mut(bucket) {
            *rows += i64::try_from(copied).unwrap_or(i64::MAX);
        }
        Ok(())
    }

    /// Copies rejects.
    pub async fn rejects(&mut self, data: Bytes, expected: u64) -> DbResult<()> {
        let copied = staging::copy_rejects(&self.tx, data).await?;
        self.rejected += i64::try_from(copied).unwrap_or(i64::MAX);
        check_count("rejects.copy", copied, expected)
    }

    /// Shows the server that this transaction is not abandoned.
    pub async fn keep_alive(&self) -> DbResult<()> {
        self.tx.batch_execute("-- load.keep_alive").await.map_err(|e| DbError::new("load.keep_alive", e))
    }

    /// Writes the counts, looks whether this attempt still holds, and commits.
    pub async fn finish(self, skipped: i64) -> StepResult<FileCounts> {
        let staged: i64 = self.rows.iter().sum();
        let records = staged + self.rejected + skipped;
        let written = sql::FILES_LOADED
            .run(
                self.tx.client(),
                &[
                    (&self.job.0, Type::UUID),
                    (&self.file_no, Type::INT4),
                    (&records, Type::INT8),
                    (&staged, Type::INT8),
                    (&self.rejected, Type::INT8),
                    (&skipped, Type::INT8),
                    (&self.rows, Type::INT8_ARRAY),
                ],
            )
            .await?;
        if written != 1 {
            return Err(StepError::internal(format!(
                "file {} of job {} is not marked",
                self.file_no, self.job
            )));
        }
        jobs::fence(self.tx.client(), self.job, self.attempt, Status::Loading).await?;
        commit(self.tx, LOAD).await?;
        Ok(FileCounts { records, staged, rejected: self.rejected, skipped })
    }
}

fn check_count(statement: &'static str, copied: u64, expected: u64) -> DbResult<()> {
    if copied == expected {
        return Ok(());
    }
    Err(DbError::new(statement, format!("sent {expected} rows, {copied} arrived")))
}

/// An empty buffer per bucket.
pub fn buffers(buckets: usize, capacity: usize) -> Vec<CopyBuffer> {
    (0..buckets).map(|_| CopyBuffer::with_capacity(capacity)).collect()
}
