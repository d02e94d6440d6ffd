//! `POST /imports/{id}/rollback|verify|exports` and `DELETE /imports/{id}/staging`: reads the request and words what
//! became of it.

use super::Asked;
use crate::exports;
use crate::problems;
use crate::show::{find, find_on};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shared::db::Limits;
use shared::db::outbox::Promises;
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::task::{ClaimedCodes, ExportKind};
use shared::http::{Answer, Caller, Done, Problem, json_answer, once, read_body};
use shared::lambda::App;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    confirm: String,
    #[serde(default = "keep")]
    claimed: ClaimedCodes,
}

fn keep() -> ClaimedCodes {
    ClaimedCodes::Keep
}

/// `POST /imports/{id}/rollback`
pub(crate) async fn rollback(app: &App, caller: &Caller, job: JobId, request: &Request) -> Answer {
    find(app, caller, job).await?;
    let body: RollbackBody = read_body(request)?;
    problems::check_confirmation(&body.confirm, "DELETE", "roll back")?;
    once(app, caller, async |tx| {
        let asked = super::ask_rollback(tx, caller, job, body.claimed).await?;
        let promises = accept(asked, "rolled back")?;
        Ok(Done { response: json_answer(StatusCode::ACCEPTED, &find_on(tx, caller, job).await?)?, promises })
    })
    .await
}

/// `POST /imports/{id}/verify`
pub(crate) async fn verify(app: &App, caller: &Caller, job: JobId) -> Answer {
    find(app, caller, job).await?;
    once(app, caller, async |tx| {
        let promises = accept(super::ask_verify(tx, caller, job).await?, "verified")?;
        Ok(Done { response: json_answer(StatusCode::ACCEPTED, &find_on(tx, caller, job).await?)?, promises })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportBody {
    kind: ExportKind,
}

/// `POST /imports/{id}/exports`
pub(crate) async fn export(app: &App, caller: &Caller, job: JobId, request: &Request) -> Answer {
    let found = find(app, caller, job).await?;
    let ExportBody { kind } = read_body(request)?;
    let is_ready = exports::is_ready(app, found.view.merchant_id, job, kind).await?;
    once(app, caller, async |tx| {
        let (status, promises) = match super::ask_export(tx, caller, job, kind).await? {
            // It can't be made again, and needn't be.
            Asked::StagingCleared if is_ready => ("ready", Promises::none()),
            asked => ("running", accept(asked, "exported")?),
        };
        let answer = json!({
            "job_id": job,
            "kind": kind,
            "status": status,
            "links": { "exports": format!("/imports/{job}/exports"), "job": format!("/imports/{job}") },
        });
        Ok(Done { response: json_answer(StatusCode::ACCEPTED, &answer)?, promises })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClearBody {
    confirm: String,
}

/// `DELETE /imports/{id}/staging`
pub(crate) async fn clear_staging(app: &App, actor: &Actor, job: JobId, request: &Request) -> Answer {
    find(app, actor, job).await?;
    let body: ClearBody = read_body(request)?;
    problems::check_confirmation(&body.confirm, "CLEAR", "clear the staging")?;
    let mut connection = app.db.connection().await?;
    // Clearing doesn't wait for a reader of the staging.
    let limits = Limits { lock: Duration::from_millis(500), ..Limits::short() };
    let tx = connection.begin("clear", limits).await?;
    let outcome = accept(super::clear_staging(&tx, actor, job).await?, "cleared");
    // Clearing promises no message.
    let _none = tx.settle(outcome).await?;
    drop(connection);
    json_answer(StatusCode::OK, &find(app, actor, job).await?)
}

/// The messages of what will be done or is under way; anything else is a problem. `participle` is what can't be done to
/// the job.
fn accept(asked: Asked, participle: &str) -> Result<Promises, Problem> {
    match asked {
        Asked::Taken { promises } => Ok(promises),
        Asked::UnderWay => Ok(Promises::none()),
        Asked::NotFound => Err(Problem::not_found()),
        Asked::MerchantBusy { by } => Err(problems::merchant_busy(by)),
        Asked::WrongState(status) => {
            let detail = format!("The import is {} and can't be {participle}.", status.as_str());
            Err(problems::wrong_state(status, detail))
        }
        Asked::RollingBack => {
            let detail = format!("The import is being rolled back and can't be {participle}.");
            Err(problems::wrong_state(Status::Completed, detail))
        }
        Asked::NotMarked(status) => {
            let detail =
                format!("The import is {}: it ended before its duplicates were found.", status.as_str());
            Err(problems::wrong_state(status, detail))
        }
        Asked::StagingCleared => Err(staging_cleared()),
        Asked::Exporting => Err(exporting()),
    }
}

/// The name has an underscore, unlike the others: scripts know it so.
fn staging_cleared() -> Problem {
    Problem::conflict(
        "staging_cleared",
        "Staging was cleared",
        "The staged rows of this import are gone, and no such export was made while they were there.",
    )
}

fn exporting() -> Problem {
    let mut problem = Problem::conflict(
        "exporting",
        "An export is under way",
        "The staged rows are being exported. Try again when that is done.",
    );
    problem.retry_after = Some(10);
    problem
}
