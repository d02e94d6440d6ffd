//! The files of an import: frozen when it opens, loaded one transaction each.

use super::bind::Bind;
use super::connection::Session;
use super::error::{DbError, DbResult};
use super::rejects::KeptRejects;
use super::statement::statements;
use super::transaction::Transaction;
use crate::domain::fault::Fault;
use crate::domain::ids::JobId;
use crate::domain::layout::Layout;
use crate::domain::object::FrozenObject;
use crate::domain::warning::Findings;
use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

statements! {
    "files":
    FAILED = "failed";
    FIND = "find";
    FOUND = "found";
    FREEZE = "freeze";
    LEAVE_OUT = "leave_out";
    LIST = "list";
    LIST_FAULTS = "list_faults";
    LIST_SOURCES = "list_sources";
    LOADED = "loaded";
    PAGE = "page";
    REPLACE = "replace";
    SET_LAYOUTS = "set_layouts";
    TAKE = "take";
}

/// `import_files.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// Not loaded yet.
    Pending,
    /// Its rows are in staging.
    Loaded,
    /// It can't be loaded as it is.
    Failed,
    /// A person took it out of the import.
    LeftOut,
}

impl FileStatus {
    fn read(row: &Row) -> DbResult<Self> {
        match row.get("status") {
            "pending" => Ok(Self::Pending),
            "loaded" => Ok(Self::Loaded),
            "failed" => Ok(Self::Failed),
            "left_out" => Ok(Self::LeftOut),
            other => Err(DbError::defect("files.read", format!("`{other}` is no status of a file"))),
        }
    }
}

/// One file of an import.
#[derive(Debug, Clone)]
pub struct ImportFile {
    /// The rank of its key when the files were frozen: it decides which occurrence of a code is the first.
    pub file_no: i32,
    /// The key of the file that a person replaced by this one.
    pub replaces: Option<String>,
    /// The object in the version that was frozen.
    pub object: FrozenObject,
    /// Where it stands.
    pub status: FileStatus,
    /// What its header said.
    pub layout: Option<Layout>,
    /// Where its records went.
    pub counts: Option<FileCounts>,
    /// What was found in it besides its rows.
    pub findings: Findings,
    /// Staged rows per bucket; of a file that is not loaded, those of what it was before.
    pub bucket_rows: Option<Vec<i64>>,
    /// The name of its fault.
    pub error_reason: Option<String>,
    /// Its fault, for a person.
    pub error_message: Option<String>,
}

/// Where the records of a file went. `records = staged + rejected + skipped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FileCounts {
    /// Records below the header.
    pub records: i64,
    /// Rows in staging.
    pub staged: i64,
    /// Records that broke a rule.
    pub rejected: i64,
    /// Records without content.
    pub skipped: i64,
}

impl ImportFile {
    fn read(row: &Row) -> DbResult<Self> {
        let records: Option<i64> = row.get("records");
        Ok(Self {
            file_no: row.get("file_no"),
            replaces: row.get("replaces"),
            object: read_object(row),
            status: FileStatus::read(row)?,
            layout: row.get::<_, Option<Json<Layout>>>("layout").map(|json| json.0),
            counts: records.map(|records| FileCounts {
                records,
                staged: row.get("staged"),
                rejected: row.get("rejected"),
                skipped: row.get("skipped"),
            }),
            findings: Findings {
                warnings: row.get::<_, Json<_>>("warnings").0,
                rejected_by_reason: row.get::<_, Json<_>>("rejected_by_reason").0,
            },
            bucket_rows: row.get("bucket_rows"),
            error_reason: row.get("error_reason"),
            error_message: row.get("error_message"),
        })
    }

    /// Whether a person took it out of the import.
    pub fn is_left_out(&self) -> bool {
        self.status == FileStatus::LeftOut
    }

    /// Whether staging has what it must have of the file; of one that is left out, nothing.
    pub fn is_loaded(&self) -> bool {
        match self.status {
            FileStatus::Loaded => true,
            FileStatus::Pending | FileStatus::Failed => false,
            FileStatus::LeftOut => self.counts.is_some(),
        }
    }
}

fn read_object(row: &Row) -> FrozenObject {
    FrozenObject {
        key: row.get("key"),
        version_id: row.get("version_id"),
        etag: row.get("etag"),
        bytes: row.get("bytes"),
    }
}

/// The files of an import, in order of their keys.
pub async fn list(on: &dyn Session, job: JobId) -> DbResult<Vec<ImportFile>> {
    LIST.all(on, &[&job]).await?.iter().map(ImportFile::read).collect()
}

/// So many files behind this one, and whether there are more.
pub async fn list_page(
    on: &dyn Session,
    job: JobId,
    after: i32,
    limit: i64,
) -> DbResult<(Vec<ImportFile>, bool)> {
    let rows = PAGE.all(on, &[&job, &after, &(limit + 1)]).await?;
    let mut files: Vec<ImportFile> = rows.iter().map(ImportFile::read).collect::<DbResult<_>>()?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let more = files.len() > limit;
    files.truncate(limit);
    Ok((files, more))
}

/// One file of an import.
pub async fn find(on: &dyn Session, job: JobId, file_no: i32) -> DbResult<Option<ImportFile>> {
    FIND.opt(on, &[&job, &file_no]).await?.as_ref().map(ImportFile::read).transpose()
}

/// Writes the frozen files. `objects` in order of their keys: their rank is the file's number.
pub async fn insert(on: &dyn Session, job: JobId, objects: &[FrozenObject]) -> DbResult<()> {
    let numbers: Vec<i32> = (1..).take(objects.len()).collect();
    let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
    let versions: Vec<Option<&str>> = objects.iter().map(|object| object.version_id.as_deref()).collect();
    let etags: Vec<&str> = objects.iter().map(|object| object.etag.as_str()).collect();
    let bytes: Vec<i64> = objects.iter().map(|object| object.bytes).collect();
    let written = FREEZE.run_many(on, &[&job, &numbers, &keys, &versions, &etags, &bytes]).await?;
    check_all_written(FREEZE.name, written, objects.len())
}

/// Freezes a file that was missing. `false`: it is frozen already.
pub async fn freeze_missing(
    on: &dyn Session,
    job: JobId,
    file_no: i32,
    object: &FrozenObject,
) -> DbResult<bool> {
    FOUND.run_guarded(on, &[&job, &file_no, &object.version_id, &object.etag, &object.bytes]).await
}

/// Keeps what the headers said, by the files' numbers. `false`: the attempt is over.
pub async fn set_layouts(
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    layouts: &[(i32, Layout)],
) -> DbResult<bool> {
    let numbers: Vec<i32> = layouts.iter().map(|(number, _)| *number).collect();
    let values: Vec<Json<&Layout>> = layouts.iter().map(|(_, layout)| Json(layout)).collect();
    let written = SET_LAYOUTS.run_many(on, &[&job, &numbers, &values, &attempt]).await?;
    if written == 0 && !layouts.is_empty() {
        return Ok(false);
    }
    check_all_written(SET_LAYOUTS.name, written, layouts.len()).map(|()| true)
}

fn check_all_written(statement: &'static str, written: u64, expected: usize) -> DbResult<()> {
    if usize::try_from(written) == Ok(expected) {
        return Ok(());
    }
    Err(DbError::defect(statement, format!("{written} of {expected} files were written")))
}

/// Notes why a file can't be loaded; nothing of it is staged. `false`: it is loaded, or the attempt is over.
pub async fn fail(
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    file_no: i32,
    fault: &Fault,
    message: &str,
) -> DbResult<bool> {
    FAILED.run_guarded(on, &[&job, &file_no, &attempt, &fault.reason.as_str(), &message]).await
}

/// What became of replacing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The file is this object now.
    Done,
    /// Another file of the import has this key.
    KeyTaken,
}

/// Replaces a file by another object, under the job's lock.
pub async fn replace(
    tx: &mut Transaction<'_>,
    job: JobId,
    file_no: i32,
    object: &FrozenObject,
) -> DbResult<Replaced> {
    let FrozenObject { key, version_id, etag, bytes } = object;
    match tx.run_refusable(&REPLACE, &[&job, &file_no, key, version_id, etag, bytes]).await {
        Ok(Some(_)) => Ok(Replaced::Done),
        Ok(None) => Err(DbError::defect(REPLACE.name, "no file was written, one was expected")),
        Err(error) if error.constraint() == Some("import_files_key") => Ok(Replaced::KeyTaken),
        Err(error) => Err(error),
    }
}

/// Takes a file out of the import, under the job's lock. `false`: it is the last one.
pub async fn leave_out(on: &dyn Session, job: JobId, file_no: i32) -> DbResult<bool> {
    LEAVE_OUT.run_guarded(on, &[&job, &file_no]).await
}

/// The objects of an import in order of their keys, without those that were left out.
pub async fn list_sources(on: &dyn Session, job: JobId) -> DbResult<Vec<FrozenObject>> {
    Ok(LIST_SOURCES.all(on, &[&job]).await?.iter().map(read_object).collect())
}

/// The faults of the files that failed, for a person.
pub async fn list_faults(on: &dyn Session, job: JobId) -> DbResult<Vec<String>> {
    Ok(LIST_FAULTS.all(on, &[&job]).await?.iter().map(|row| row.get("error_message")).collect())
}

/// What staging has of a file that was replaced or left out: rows per bucket.
pub type RowsBefore = Vec<i64>;

/// Marks the file as loaded, in the transaction that loads it. A second loader of the file waits here, then finds it
/// loaded: `None`.
pub async fn take(on: &dyn Session, job: JobId, file_no: i32) -> DbResult<Option<RowsBefore>> {
    let taken = TAKE.opt(on, &[&job, &file_no]).await?;
    Ok(taken.map(|row| row.get::<_, Option<RowsBefore>>("bucket_rows").unwrap_or_default()))
}

/// Keeps where the records of a file went, what was found besides, and its staged rows per bucket.
pub async fn record_loaded(
    on: &dyn Session,
    job: JobId,
    file_no: i32,
    counts: &FileCounts,
    findings: &Findings,
    bucket_rows: &[i64],
    kept: &KeptRejects,
) -> DbResult<()> {
    let FileCounts { records, staged, rejected, skipped } = counts;
    let (warnings, reasons) = (Json(&findings.warnings), Json(&findings.rejected_by_reason));
    let KeptRejects { rows, bytes } = kept;
    let binds: &[&dyn Bind] =
        &[&job, &file_no, records, staged, rejected, skipped, &bucket_rows, &warnings, &reasons, rows, bytes];
    LOADED.run_one(on, binds).await
}
