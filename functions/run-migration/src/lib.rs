//! `POST /migrations/run`: starts an import of one file with an explicit mapping, unless that very run is active.

mod base_key;
mod request;
mod start;

use lambda_http::Request;
use lambda_http::http::StatusCode;
use request::RunRequest;
use serde_json::json;
use shared::db::jobs::Start;
use shared::domain::fault::FaultReason;
use shared::domain::ids::JobId;
use shared::domain::object::FrozenSource;
use shared::domain::source::{Door, SourceInfo};
use shared::http::{Answer, Caller, Done, Problem, identify_caller, json_answer, once, status_url};
use shared::lambda::App;
use shared::source::completed::Completed;
use shared::source::resolve::freeze;
use start::Outcome;

/// The handler. Order of checks: 401, 404, 400/422, idempotency, the file.
pub async fn handle(app: App, request: Request) -> Answer {
    let caller = identify_caller(&app, &request).await?;
    let asked = request::read(&request, &caller)?;
    let file = find_file(&app, &caller, &asked).await?;
    once(&app, &caller, async |tx| {
        // Only now is a missing file refused: a request that was answered gets its answer again after its file has gone.
        let Some(file) = &file else { return Err(missing(&asked.file)) };
        let start = start_of(&asked, &caller, file);
        match start::run(tx, &start, &file.base_key).await? {
            Outcome::Started(promises) => Ok(Done { response: started(start.job)?, promises }),
            Outcome::Running(job) => Ok(already_running(job)?.into()),
            Outcome::TryAgain => Err(Problem::unavailable()),
        }
    })
    .await
}

/// The file of a request, as it is now.
struct File {
    /// Names the run: see `base_key.rs`.
    base_key: String,
    version_id: Option<String>,
    frozen: Option<FrozenSource>,
}

/// Looks the file up. `None`: there is no such object.
async fn find_file(app: &App, caller: &Caller, asked: &RunRequest) -> Result<Option<File>, Problem> {
    let completed = Completed::find(&app.db, std::iter::once(asked.file.as_str())).await?;
    let version = completed.version_of(&asked.file);
    let found = app.objects().head_checksum(&asked.file, version).await?;
    let Some((object, checksum)) = found else { return Ok(None) };
    let base_key = base_key::of_run(caller.user, &asked.source, &object, checksum.as_deref());
    let frozen = freeze(app.objects(), &app.db, &asked.source, object.version_id.as_deref()).await;
    Ok(Some(File { base_key, version_id: object.version_id, frozen }))
}

fn start_of<'a>(asked: &'a RunRequest, caller: &Caller, file: &'a File) -> Start<'a> {
    let source_info = SourceInfo {
        version_id: file.version_id.clone(),
        ..SourceInfo::of_request(Door::RunMigration, json!(asked.start))
    };
    Start {
        job: JobId::generate(),
        merchant: asked.source.merchant,
        user: caller.user,
        source_info,
        files_asked: asked.start.files.as_deref(),
        mapping: &asked.source.mapping,
        options: asked.source.options,
        frozen: file.frozen.as_ref(),
    }
}

fn started(job: JobId) -> Answer {
    json_answer(
        StatusCode::ACCEPTED,
        &json!({ "jobId": job, "status": "pending", "statusUrl": status_url(job) }),
    )
}

fn already_running(job: JobId) -> Answer {
    json_answer(StatusCode::OK, &json!({ "jobId": job, "message": "Job already in progress" }))
}

fn missing(key: &str) -> Problem {
    let advice = FaultReason::MissingObject.advice();
    Problem::unprocessable("/file", format!("missing_object: there is no `{key}`; {advice}."))
}
