//! What an operator does with imports over HTTP: look, approve, cancel, retry, verify, export, roll back, clear.

pub mod check;
mod decide;
mod list;
mod maintain;
mod uploads;

use lambda_http::http::{Method, StatusCode};
use lambda_http::{Request, RequestExt};
use serde_json::json;
use shared::db::Client;
use shared::db::decisions::Actor;
use shared::db::files;
use shared::db::pool::client;
use shared::db::read::{self, Filter};
use shared::domain::ids::JobId;
use shared::edge::App;
use shared::edge::http::{Answer, Problem, caller, json};
use uuid::Uuid;

/// The handler of all `/imports` routes. Order of checks: 401, 404, 400/422, work.
pub async fn handle(app: App, request: Request) -> Answer {
    let actor = caller(&app, &request).await?;
    let path = request.raw_http_path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method(), segments.as_slice()) {
        (&Method::GET, ["imports"]) => list::list(&app, &actor, &request).await,
        (&Method::GET, ["imports", id]) => show(&app, &actor, job_id(id)?).await,
        (&Method::GET, ["imports", id, "files"]) => show_files(&app, &actor, job_id(id)?).await,
        (&Method::POST, ["imports", "check"]) => check::check(&app, &actor, &request).await,
        (&Method::POST, ["uploads"]) => uploads::declare(&app, &actor, &request).await,
        (&Method::POST, ["uploads", id, "complete"]) => {
            uploads::complete(&app, &actor, uuid(id)?, &request).await
        }
        (&Method::POST, ["imports", id, "approve"]) => {
            decide::approve(&app, &actor, job_id(id)?, &request).await
        }
        (&Method::POST, ["imports", id, "cancel"]) => decide::cancel(&app, &actor, job_id(id)?).await,
        (&Method::POST, ["imports", id, "retry"]) => decide::retry(&app, &actor, job_id(id)?).await,
        (&Method::POST, ["imports", id, "rollback"]) => {
            maintain::rollback(&app, &actor, job_id(id)?, &request).await
        }
        (&Method::POST, ["imports", id, "verify"]) => maintain::verify(&app, &actor, job_id(id)?).await,
        (&Method::POST, ["imports", id, "exports"]) => {
            maintain::export(&app, &actor, job_id(id)?, &request).await
        }
        (&Method::GET, ["imports", id, "exports"]) => maintain::exports(&app, &actor, job_id(id)?).await,
        (&Method::DELETE, ["imports", id, "staging"]) => {
            maintain::clear_staging(&app, &actor, job_id(id)?, &request).await
        }
        _ => Err(Problem::not_found()),
    }
}

/// What is no id is the id of nothing.
fn job_id(segment: &str) -> Result<JobId, Problem> {
    uuid(segment).map(JobId)
}

fn uuid(segment: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(segment).map_err(|_| Problem::not_found())
}

async fn show(app: &App, actor: &Actor, job: JobId) -> Answer {
    json(StatusCode::OK, &find(app, actor, job).await?)
}

/// The job as the API shows it; 404 unless it is one of the caller's merchants'.
pub(crate) async fn find(app: &App, actor: &Actor, job: JobId) -> Result<serde_json::Value, Problem> {
    let connection = app.db.connection().await?;
    find_on(client(&connection), actor, job).await
}

pub(crate) async fn find_on(
    client: &Client,
    actor: &Actor,
    job: JobId,
) -> Result<serde_json::Value, Problem> {
    let filter = Filter { merchants: actor.merchants.clone(), job: Some(job), limit: 1, ..Filter::default() };
    let (found, _) = read::jobs(client, &filter).await?;
    found.into_iter().next().ok_or_else(Problem::not_found)
}

/// 409: the merchant has an import that works.
pub(crate) fn merchant_busy(by: Option<JobId>) -> Problem {
    let detail = "Another import of this merchant is working. Try again when it waits or is done.";
    busy("merchant-busy", by, detail)
}

pub(crate) fn busy(name: &'static str, by: Option<JobId>, detail: &str) -> Problem {
    let mut problem = Problem::conflict(name, "Another import is working", detail);
    problem.members = json!({ "active_job_id": by });
    problem.retry_after = Some(10);
    problem
}

async fn show_files(app: &App, actor: &Actor, job: JobId) -> Answer {
    find(app, actor, job).await?;
    let connection = app.db.connection().await?;
    let files = files::list(client(&connection), job).await?;
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            json!({
                "file_no": file.file_no,
                "key": file.object.key,
                "version_id": file.object.version_id,
                "bytes": file.object.bytes,
                "status": file.status,
                "records": file.counts.map(|c| c.records),
                "staged": file.counts.map(|c| c.staged),
                "rejected": file.counts.map(|c| c.rejected),
                "skipped": file.counts.map(|c| c.skipped),
                "layout": file.layout.as_ref().map(|layout| json!({
                    "compression": layout.compression,
                    "delimiter": char::from(layout.delimiter).to_string(),
                    "header": layout.header,
                    "ignored_columns": layout.unknown,
                })),
                "error_reason": file.error_reason,
                "error_message": file.error_message,
            })
        })
        .collect();
    json(StatusCode::OK, &json!({ "job_id": job, "files": files }))
}
