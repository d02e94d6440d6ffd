//! What an operator does with imports over HTTP: look, upload, check, approve, cancel, retry, mend, verify, export, roll
//! back, clear.

pub mod check;
pub mod decide;
mod exports;
mod links;
mod list;
pub mod maintain;
pub mod mend;
mod page;
mod problems;
mod show;
mod tally;
mod uploads;

use decide::routes as decisions;
use lambda_http::{Request, RequestExt};
use maintain::preview::preview;
use maintain::routes as maintenance;
use mend::routes::mend_file;
use shared::db::jobs;
use shared::domain::ids::JobId;
use shared::http::{Answer, Caller, Problem, identify_caller};
use shared::lambda::App;
use uuid::Uuid;

/// The handler of all `/imports` and `/uploads` routes. Order of checks: 401, 404, 400/422, work.
pub async fn handle(app: App, request: Request) -> Answer {
    let (app, request) = (&app, &request);
    let caller = &identify_caller(app, request).await?;
    let path = request.raw_http_path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let answer = route(app, caller, request, &segments).await;
    if let (Err(problem), ["imports", id, ..]) = (&answer, segments.as_slice())
        && problem.name == problems::MERCHANT_BUSY
    {
        keep_turn(app, caller, job_id(id)?).await?;
    }
    answer
}

async fn route(app: &App, caller: &Caller, request: &Request, segments: &[&str]) -> Answer {
    match (request.method().as_str(), segments) {
        ("GET", ["imports"]) => list::list(app, caller, request).await,
        ("GET", ["imports", id]) => show::show(app, caller, job_id(id)?).await,
        ("GET", ["imports", id, "files"]) => show::show_files(app, caller, job_id(id)?, request).await,
        ("GET", ["imports", id, "exports"]) => exports::show_exports(app, caller, job_id(id)?).await,

        ("POST", ["uploads"]) => uploads::declare(app, caller, request).await,
        ("POST", ["uploads", id, "complete"]) => uploads::complete(app, caller, uuid(id)?, request).await,
        ("POST", ["imports", "check"]) => check::check(app, caller, request).await,

        ("POST", ["imports", id, "approve"]) => decisions::approve(app, caller, job_id(id)?, request).await,
        ("POST", ["imports", id, "cancel"]) => decisions::cancel(app, caller, job_id(id)?).await,
        ("POST", ["imports", id, "retry"]) => decisions::retry(app, caller, job_id(id)?).await,
        ("POST", ["imports", id, "files", file_no]) => {
            mend_file(app, caller, job_id(id)?, file_no, request).await
        }

        ("GET", ["imports", id, "rollback"]) => preview(app, caller, job_id(id)?).await,
        ("POST", ["imports", id, "rollback"]) => {
            maintenance::rollback(app, caller, job_id(id)?, request).await
        }
        ("POST", ["imports", id, "verify"]) => maintenance::verify(app, caller, job_id(id)?).await,
        ("POST", ["imports", id, "exports"]) => maintenance::export(app, caller, job_id(id)?, request).await,
        ("DELETE", ["imports", id, "staging"]) => {
            maintenance::clear_staging(app, caller, job_id(id)?, request).await
        }
        _ => Err(Problem::not_found()),
    }
}

/// Whoever is told that the merchant is busy goes before the uploads that wait, if they ask again as soon as `Retry-After` says.
async fn keep_turn(app: &App, caller: &Caller, job: JobId) -> Result<(), Problem> {
    let connection = app.db.connection().await?;
    jobs::keep_turn(&connection, caller, job).await?;
    Ok(())
}

fn job_id(segment: &str) -> Result<JobId, Problem> {
    uuid(segment).map(JobId)
}

/// A malformed id can't name anything, so it is 404, not 400.
fn uuid(segment: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(segment).map_err(|_| Problem::not_found())
}
