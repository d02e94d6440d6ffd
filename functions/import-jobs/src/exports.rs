//! `GET /imports/{id}/exports`: the exports of an import whose files are still in the bucket, with links.

use crate::show::find;
use chrono::{DateTime, Utc};
use lambda_http::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::db::tasks::{self, Export};
use shared::db::{DbError, DbResult};
use shared::domain::actor::Actor;
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::task::{ExportKind, TaskStatus};
use shared::http::{Answer, Problem, json_answer};
use shared::lambda::App;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a link works.
const LINK_VALID: Duration = Duration::from_secs(900);
/// How many links fit into an answer. Files beyond them are named without one.
const MAX_LINKS: usize = 1000;
/// How many files of a job's reports are listed.
const MAX_KEYS: usize = 10_000;

/// An export as the API shows it.
#[derive(Serialize)]
struct ShownExport {
    kind: String,
    status: &'static str,
    requested_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    rows: Option<i64>,
    files: Vec<LinkedFile>,
    error_message: Option<String>,
}

#[derive(Serialize)]
struct LinkedFile {
    #[serde(flatten)]
    file: ReportFile,
    url: Option<String>,
}

/// What a task's result says about its files.
#[derive(Default, Deserialize)]
struct ReportResult {
    /// How many rows an export has.
    rows: Option<i64>,
    /// How many rows the list of a rollback has.
    codes_kept: Option<i64>,
    #[serde(default)]
    files: Vec<ReportFile>,
}

/// One file of a report.
#[derive(Serialize, Deserialize)]
struct ReportFile {
    key: String,
    name: String,
    rows: i64,
    bytes: i64,
}

/// `GET /imports/{id}/exports`
pub(crate) async fn show_exports(app: &App, actor: &Actor, job: JobId) -> Answer {
    let found = find(app, actor, job).await?;
    let exports = list_exports(app, job).await?;
    let keys = list_keys(app, found.view.merchant_id, job).await?;
    let mut links_left = MAX_LINKS;
    let mut shown = Vec::new();
    for export in exports {
        let ReportResult { rows, codes_kept, files } = read_result(&export)?;
        let files = keep_stored(files, &keys);
        if export.status == TaskStatus::Done && files.is_empty() {
            // The bucket has let go of it.
            continue;
        }
        shown.push(ShownExport {
            kind: export.kind,
            status: match export.status {
                TaskStatus::Active => "running",
                TaskStatus::Done => "ready",
                TaskStatus::Failed => "failed",
            },
            requested_at: export.requested_at,
            finished_at: export.finished_at,
            rows: rows.or(codes_kept),
            files: link_files(app, files, &mut links_left).await?,
            error_message: export.error_message,
        });
    }
    json_answer(
        StatusCode::OK,
        &json!({ "job_id": job, "exports": shown, "url_expires_in_seconds": LINK_VALID.as_secs() }),
    )
}

/// Whether an export of this kind is done and its files are still in the bucket.
pub(crate) async fn is_ready(
    app: &App,
    merchant: MerchantId,
    job: JobId,
    kind: ExportKind,
) -> Result<bool, Problem> {
    let exports = list_exports(app, job).await?;
    let is_done = |export: &&Export| export.kind == kind.as_str() && export.status == TaskStatus::Done;
    let Some(done) = exports.iter().find(is_done) else { return Ok(false) };
    let ReportResult { files, .. } = read_result(done)?;
    Ok(!keep_stored(files, &list_keys(app, merchant, job).await?).is_empty())
}

async fn list_exports(app: &App, job: JobId) -> DbResult<Vec<Export>> {
    let connection = app.db.connection().await?;
    tasks::list_exports(&connection, job).await
}

/// The keys of the job's reports in the bucket, which deletes old ones.
async fn list_keys(app: &App, merchant: MerchantId, job: JobId) -> Result<BTreeSet<String>, Problem> {
    Ok(app.objects().list(&tasks::reports(merchant, job), MAX_KEYS, |_| true).await?.into_iter().collect())
}

fn read_result(export: &Export) -> DbResult<ReportResult> {
    match &export.result {
        None => Ok(ReportResult::default()),
        Some(result) => ReportResult::deserialize(result)
            .map_err(|error| DbError::defect("exports.read_result", error.to_string())),
    }
}

fn keep_stored(files: Vec<ReportFile>, keys: &BTreeSet<String>) -> Vec<ReportFile> {
    files.into_iter().filter(|file| keys.contains(&file.key)).collect()
}

async fn link_files(
    app: &App,
    files: Vec<ReportFile>,
    links_left: &mut usize,
) -> Result<Vec<LinkedFile>, Problem> {
    let mut linked = Vec::new();
    for file in files {
        let url = match *links_left {
            0 => None,
            _ => Some(app.objects().link(&file.key, &file.name, LINK_VALID).await?),
        };
        *links_left = links_left.saturating_sub(1);
        linked.push(LinkedFile { file, url });
    }
    Ok(linked)
}
