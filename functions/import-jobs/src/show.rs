//! `GET /imports/{id}` and `GET /imports/{id}/files`: one import, and its files.

use crate::links::LinkedJob;
use crate::page::{MAX_LIMIT, check_parameters, fit, read_cursor, read_limit, write_cursor};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use shared::db::files::{self, FileStatus, ImportFile};
use shared::db::{Session, jobs};
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;
use shared::domain::layout::{Compression, Layout};
use shared::domain::warning::Findings;
use shared::http::{Answer, Problem, json_answer};
use shared::lambda::App;

/// `GET /imports/{id}`
pub(crate) async fn show(app: &App, actor: &Actor, job: JobId) -> Answer {
    let connection = app.db.connection().await?;
    let view = jobs::find_view(&connection, &actor.merchants, job, false).await?;
    json_answer(StatusCode::OK, &view.map(LinkedJob::from).ok_or_else(Problem::not_found)?)
}

/// The import as a list shows it. 404 unless it is one of the actor's merchants'.
pub(crate) async fn find(app: &App, actor: &Actor, job: JobId) -> Result<LinkedJob, Problem> {
    let connection = app.db.connection().await?;
    find_on(&connection, actor, job).await
}

/// The same, in a transaction that is open. What decisions answer is kept for a day under each key, so it is brief.
pub(crate) async fn find_on(on: &dyn Session, actor: &Actor, job: JobId) -> Result<LinkedJob, Problem> {
    let view = jobs::find_view(on, &actor.merchants, job, true).await?;
    view.map(LinkedJob::from).ok_or_else(Problem::not_found)
}

/// A page of files ends here even if there are fewer than were asked for: one header can have 64 KiB, and is shown twice
/// where none of its columns is known but the codes'. Lambda answers with 6 MB at most.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// `GET /imports/{id}/files`
pub(crate) async fn show_files(app: &App, actor: &Actor, job: JobId, request: &Request) -> Answer {
    find(app, actor, job).await?;
    check_parameters(request, &["limit", "cursor"])?;
    let limit = read_limit(request, MAX_LIMIT)?;
    let after = read_cursor(request)?.unwrap_or(0);
    let connection = app.db.connection().await?;
    let (found, more) = files::list_page(&connection, job, after, limit).await?;
    drop(connection);
    let numbers: Vec<i32> = found.iter().map(|file| file.file_no).collect();
    let page = fit(found.into_iter().map(ShownFile::from), MAX_PAGE_BYTES);
    let last = page.len().checked_sub(1).filter(|_| more || page.len() < numbers.len());
    let next = last.map(|last| write_cursor(&numbers[last])).transpose()?;
    json_answer(StatusCode::OK, &json!({ "job_id": job, "files": page, "next": next }))
}

/// A file of an import as the API shows it.
#[derive(Serialize)]
struct ShownFile {
    file_no: i32,
    key: String,
    replaces: Option<String>,
    version_id: Option<String>,
    bytes: i64,
    status: FileStatus,
    records: Option<i64>,
    staged: Option<i64>,
    rejected: Option<i64>,
    skipped: Option<i64>,
    layout: Option<ShownLayout>,
    #[serde(flatten)]
    findings: Findings,
    error_reason: Option<String>,
    error_message: Option<String>,
}

#[derive(Serialize)]
struct ShownLayout {
    compression: Compression,
    delimiter: char,
    header: Vec<String>,
    ignored_columns: Vec<String>,
}

impl From<ImportFile> for ShownFile {
    fn from(file: ImportFile) -> Self {
        // Those of a file that is left out are a marker.
        let counts = file.counts.filter(|_| !file.is_left_out());
        Self {
            file_no: file.file_no,
            key: file.object.key,
            replaces: file.replaces,
            version_id: file.object.version_id,
            bytes: file.object.bytes,
            status: file.status,
            records: counts.map(|counts| counts.records),
            staged: counts.map(|counts| counts.staged),
            rejected: counts.map(|counts| counts.rejected),
            skipped: counts.map(|counts| counts.skipped),
            layout: file.layout.map(ShownLayout::from),
            findings: file.findings,
            error_reason: file.error_reason,
            error_message: file.error_message,
        }
    }
}

impl From<Layout> for ShownLayout {
    fn from(layout: Layout) -> Self {
        Self {
            compression: layout.compression,
            delimiter: char::from(layout.delimiter),
            header: layout.header,
            ignored_columns: layout.unknown,
        }
    }
}
