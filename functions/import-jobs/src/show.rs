//! `GET /imports/{id}` and `GET /imports/{id}/files`: one import, and its files.

use crate::links::LinkedJob;
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
    json_answer(StatusCode::OK, &find(app, actor, job).await?)
}

/// The import as the API shows it. 404 unless it is one of the actor's merchants'.
pub(crate) async fn find(app: &App, actor: &Actor, job: JobId) -> Result<LinkedJob, Problem> {
    let connection = app.db.connection().await?;
    find_on(&connection, actor, job).await
}

/// The same, in a transaction that is open.
pub(crate) async fn find_on(on: &dyn Session, actor: &Actor, job: JobId) -> Result<LinkedJob, Problem> {
    let view = jobs::find_view(on, &actor.merchants, job).await?;
    view.map(LinkedJob::from).ok_or_else(Problem::not_found)
}

/// `GET /imports/{id}/files`
pub(crate) async fn show_files(app: &App, actor: &Actor, job: JobId) -> Answer {
    find(app, actor, job).await?;
    let connection = app.db.connection().await?;
    let files = files::list(&connection, job).await?;
    let files: Vec<ShownFile> = files.into_iter().map(ShownFile::from).collect();
    json_answer(StatusCode::OK, &json!({ "job_id": job, "files": files }))
}

/// A file of an import as the API shows it.
#[derive(Serialize)]
struct ShownFile {
    file_no: i32,
    key: String,
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
        Self {
            file_no: file.file_no,
            key: file.object.key,
            version_id: file.object.version_id,
            bytes: file.object.bytes,
            status: file.status,
            records: file.counts.map(|counts| counts.records),
            staged: file.counts.map(|counts| counts.staged),
            rejected: file.counts.map(|counts| counts.rejected),
            skipped: file.counts.map(|counts| counts.skipped),
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
