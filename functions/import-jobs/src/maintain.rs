//! `POST /imports/{id}/rollback|verify|exports`, `GET /imports/{id}/exports`, `DELETE /imports/{id}/staging`. The
//! database decides; this words the outcome.

use crate::{find, find_on, merchant_busy};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::db::decisions::Actor;
use shared::db::maintenance::{self, Asked};
use shared::db::pool::client;
use shared::db::tasks::{self, Export};
use shared::db::transaction::{Limits, begin, commit};
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::task::{Claimed, ExportKind, TaskStatus};
use shared::edge::http::{Answer, Caller, Problem, body, json};
use shared::edge::{App, Done, once};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a link works.
const LINK_VALID: Duration = Duration::from_secs(900);
/// More links than this do not fit into an answer; the files behind them are named all the same.
const MAX_LINKS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    confirm: String,
    #[serde(default = "keep")]
    claimed: Claimed,
}

fn keep() -> Claimed {
    Claimed::Keep
}

pub async fn rollback(app: &App, actor: &Caller, job: JobId, request: &Request) -> Answer {
    find(app, actor, job).await?;
    let body: RollbackBody = body(request)?;
    confirmed(&body.confirm, "DELETE", "roll back")?;
    once(app, actor, async |tx| {
        let messages = taken(maintenance::ask_rollback(tx, actor, job, body.claimed).await?, "rolled back")?;
        Ok(Done { response: json(StatusCode::ACCEPTED, &find_on(tx.client(), actor, job).await?)?, messages })
    })
    .await
}

pub async fn verify(app: &App, actor: &Caller, job: JobId) -> Answer {
    find(app, actor, job).await?;
    once(app, actor, async |tx| {
        let messages = taken(maintenance::ask_verify(tx.client(), actor, job).await?, "verified")?;
        Ok(Done { response: json(StatusCode::ACCEPTED, &find_on(tx.client(), actor, job).await?)?, messages })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportBody {
    kind: ExportKind,
}

pub async fn export(app: &App, actor: &Caller, job: JobId, request: &Request) -> Answer {
    let found = find(app, actor, job).await?;
    let ExportBody { kind } = body(request)?;
    let exists = exists(app, &found, job, kind).await?;
    once(app, actor, async |tx| {
        let asked = maintenance::ask_export(tx.client(), actor, job, kind).await?;
        let (status, messages) = match asked {
            // It can't be made again, and needn't be.
            Asked::StagingCleared if exists => ("ready", Vec::new()),
            asked => ("running", taken(asked, "exported")?),
        };
        let answer = json!({
            "job_id": job,
            "kind": kind,
            "status": status,
            "links": { "exports": format!("/imports/{job}/exports"), "job": format!("/imports/{job}") },
        });
        Ok(Done { response: json(StatusCode::ACCEPTED, &answer)?, messages })
    })
    .await
}

pub async fn exports(app: &App, actor: &Actor, job: JobId) -> Answer {
    let found = find(app, actor, job).await?;
    let exports = known(app, job).await?;
    let there = there(app, &found, job).await?;
    let mut links = MAX_LINKS;
    let mut shown = Vec::new();
    for export in exports {
        let files = files(&export, &there);
        if export.status == TaskStatus::Done && files.is_empty() {
            // Older than the bucket keeps reports.
            continue;
        }
        let mut linked = Vec::new();
        for mut file in files {
            file["url"] = match links {
                0 => Value::Null,
                _ => json!(link(app, &file).await?),
            };
            links = links.saturating_sub(1);
            linked.push(file);
        }
        shown.push(json!({
            "kind": export.kind,
            "status": match export.status {
                TaskStatus::Active => "running",
                TaskStatus::Done => "ready",
                TaskStatus::Failed => "failed",
            },
            "requested_at": export.requested_at,
            "finished_at": export.finished_at,
            "rows": export.result.as_ref().map(rows),
            "files": linked,
            "error_message": export.error_message,
        }));
    }
    json(
        StatusCode::OK,
        &json!({ "job_id": job, "exports": shown, "url_expires_in_seconds": LINK_VALID.as_secs() }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClearBody {
    confirm: String,
}

pub async fn clear_staging(app: &App, actor: &Actor, job: JobId, request: &Request) -> Answer {
    const NAME: &str = "clear";
    find(app, actor, job).await?;
    let body: ClearBody = body(request)?;
    confirmed(&body.confirm, "CLEAR", "clear the staging")?;
    let mut connection = app.db.connection().await?;
    // Who reads the staging is not waited for.
    let limits = Limits { lock: Duration::from_millis(500), ..Limits::short() };
    let tx = begin(&mut connection, NAME, limits).await?;
    taken(maintenance::clear_staging(&tx, actor, job).await?, "cleared")?;
    commit(tx, NAME).await?;
    drop(connection);
    json(StatusCode::OK, &find(app, actor, job).await?)
}

fn confirmed(word: &str, wanted: &str, what: &str) -> Result<(), Problem> {
    if word == wanted {
        return Ok(());
    }
    Err(Problem::unprocessable("/confirm", format!("To {what}, `confirm` must be \"{wanted}\".")))
}

/// The messages of what was taken or is under way; anything else is a problem.
fn taken(asked: Asked, done: &str) -> Result<Vec<i64>, Problem> {
    let wrong_state = |status, detail: String| {
        let mut problem = Problem::conflict("wrong-state", "Wrong state", detail);
        problem.members = json!({ "job_status": status });
        Err(problem)
    };
    match asked {
        Asked::Taken { messages } => Ok(messages),
        Asked::UnderWay => Ok(Vec::new()),
        Asked::NotFound => Err(Problem::not_found()),
        Asked::MerchantBusy { by } => Err(merchant_busy(by)),
        Asked::WrongState(status) => {
            wrong_state(status, format!("The import is {} and can't be {done}.", status.as_str()))
        }
        Asked::RollingBack => wrong_state(
            shared::domain::job::Status::Completed,
            format!("The import is being rolled back and can't be {done}."),
        ),
        Asked::NotMarked(status) => wrong_state(
            status,
            format!("The import is {}: it ended before its duplicates were found.", status.as_str()),
        ),
        // Scripts know this name.
        Asked::StagingCleared => Err(Problem::conflict(
            "staging_cleared",
            "Staging was cleared",
            "The staged rows of this import are gone, and no such export was made while they were there.",
        )),
        Asked::Exporting => {
            let mut problem = Problem::conflict(
                "exporting",
                "An export is under way",
                "The staged rows are being exported. Try again when that is done.",
            );
            problem.retry_after = Some(10);
            Err(problem)
        }
    }
}

async fn known(app: &App, job: JobId) -> Result<Vec<Export>, Problem> {
    let connection = app.db.connection().await?;
    Ok(tasks::exports(client(&connection), job).await?)
}

/// The keys under the job's reports: the bucket lets go of old ones.
async fn there(app: &App, job: &Value, id: JobId) -> Result<BTreeSet<String>, Problem> {
    let merchant: MerchantId =
        serde_json::from_value(job["merchant_id"].clone()).map_err(|_| Problem::not_found())?;
    let keys = app.objects().list(&tasks::reports(merchant, id), 10_000).await?;
    Ok(keys.into_iter().collect())
}

/// The files of an export that are still there.
fn files(export: &Export, there: &BTreeSet<String>) -> Vec<Value> {
    let files =
        export.result.as_ref().and_then(|result| result["files"].as_array()).cloned().unwrap_or_default();
    files.into_iter().filter(|file| file["key"].as_str().is_some_and(|key| there.contains(key))).collect()
}

/// A rollback's result calls them codes.
fn rows(result: &Value) -> &Value {
    result.get("rows").unwrap_or(&result["codes_kept"])
}

async fn exists(app: &App, found: &Value, job: JobId, kind: ExportKind) -> Result<bool, Problem> {
    let exports = known(app, job).await?;
    let done =
        exports.iter().find(|export| export.kind == kind.as_str() && export.status == TaskStatus::Done);
    match done {
        Some(export) => Ok(!files(export, &there(app, found, job).await?).is_empty()),
        None => Ok(false),
    }
}

async fn link(app: &App, file: &Value) -> Result<String, Problem> {
    let text = |name: &str| file[name].as_str().unwrap_or_default();
    Ok(app.objects().link(text("key"), text("name"), LINK_VALID).await?)
}
