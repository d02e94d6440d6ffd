//! `POST /imports/{id}/approve|cancel|retry`: reads the request and words the decision.

use super::{Approval, Decision, LargeInsert};
use crate::problems;
use crate::show::{find, find_on};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shared::db::Session;
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;
use shared::http::{Answer, Caller, Done, Problem, json_answer, once, read_body};
use shared::lambda::App;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    confirm: String,
    clean_count: i64,
    #[serde(default)]
    accept_duplicates: bool,
}

/// `POST /imports/{id}/approve`
pub(crate) async fn approve(app: &App, caller: &Caller, job: JobId, request: &Request) -> Answer {
    find(app, caller, job).await?;
    let body: ApproveBody = read_body(request)?;
    problems::check_confirmation(&body.confirm, "YES", "approve")?;
    let approval = Approval { clean_count: body.clean_count, accept_duplicates: body.accept_duplicates };
    once(app, caller, async |tx| {
        let decision = super::approve(tx, caller, job, approval, app.config.insert_limit).await?;
        answer(tx, caller, job, decision, "approved").await
    })
    .await
}

/// `POST /imports/{id}/cancel`
pub(crate) async fn cancel(app: &App, caller: &Caller, job: JobId) -> Answer {
    find(app, caller, job).await?;
    once(app, caller, async |tx| {
        let decision = super::cancel(tx, caller, job).await?;
        answer(tx, caller, job, decision, "cancelled").await
    })
    .await
}

/// `POST /imports/{id}/retry`
pub(crate) async fn retry(app: &App, caller: &Caller, job: JobId) -> Answer {
    find(app, caller, job).await?;
    once(app, caller, async |tx| {
        let decision = super::retry(tx, caller, job).await?;
        answer(tx, caller, job, decision, "retried").await
    })
    .await
}

/// 202 with the job as the decision has left it, or why it was refused. `participle` is what can't be done to the job.
pub(crate) async fn answer(
    on: &dyn Session,
    actor: &Actor,
    job: JobId,
    decision: Decision,
    participle: &str,
) -> Result<Done, Problem> {
    match decision {
        Decision::Taken { promises } => {
            let response = json_answer(StatusCode::ACCEPTED, &find_on(on, actor, job).await?)?;
            Ok(Done { response, promises })
        }
        Decision::NotFound => Err(Problem::not_found()),
        Decision::MerchantBusy { by } => Err(problems::merchant_busy(by)),
        Decision::UserBusy { by } => Err(problems::user_busy(by)),
        Decision::WrongState(status) => {
            let detail = format!("The import is {} and can't be {participle}.", status.as_str());
            Err(problems::wrong_state(status, detail))
        }
        Decision::WrongCount { clean } => Err(wrong_count(clean)),
        Decision::InsertTooLarge(insert) => Err(insert_too_large(insert)),
        Decision::Blocked => Err(Problem::conflict(
            "blocked",
            "Too many duplicates",
            "More of the import is duplicate than its options allow. Look at the counts; to import the rest anyway, send \"accept_duplicates\": true.",
        )),
        Decision::SourceActive => Err(Problem::conflict(
            "source-active",
            "Same files active",
            "The same files are being imported by another job. Wait for it, or cancel it.",
        )),
    }
}

fn wrong_count(clean: i64) -> Problem {
    let detail =
        format!("{clean} codes are clean; the approval names another number. Look at the import again.");
    let mut problem = Problem::conflict("wrong-count", "Wrong count", detail);
    problem.members = json!({ "clean": clean });
    problem
}

fn insert_too_large(insert: LargeInsert) -> Problem {
    let (estimate, limit) = (insert.estimate.as_secs_f64(), insert.limit.as_secs_f64());
    let detail = format!(
        "Inserting {} codes takes about {estimate} s at the pace of recent inserts, and an insert has {limit} s. Cancel the import, and split its files into imports of at most {} new codes each.",
        insert.clean,
        insert.fitting(),
    );
    let mut problem = Problem::conflict("insert-too-large", "Insert too large", detail);
    problem.members = json!({ "insert_estimate_seconds": estimate, "limit_seconds": limit });
    problem
}
