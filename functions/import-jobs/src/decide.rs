//! `POST /imports/{id}/approve|cancel|retry`. The database decides; this words the outcome.

use crate::{busy, find, find_on, merchant_busy};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shared::db::Transaction;
use shared::db::decisions::{self, Actor, Approval, Decision};
use shared::domain::ids::JobId;
use shared::edge::http::{Answer, Caller, Problem, body, json};
use shared::edge::{App, Done, once};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    confirm: String,
    clean_count: i64,
    #[serde(default)]
    accept_duplicates: bool,
}

pub async fn approve(app: &App, actor: &Caller, job: JobId, request: &Request) -> Answer {
    find(app, actor, job).await?;
    let body: ApproveBody = body(request)?;
    if body.confirm != "YES" {
        return Err(Problem::unprocessable("/confirm", "To approve, `confirm` must be \"YES\"."));
    }
    let approval = Approval { clean_count: body.clean_count, accept_duplicates: body.accept_duplicates };
    once(app, actor, async |tx| {
        let decision = decisions::approve(tx, actor, job, approval).await?;
        answer(tx, actor, job, decision, "approved").await
    })
    .await
}

pub async fn cancel(app: &App, actor: &Caller, job: JobId) -> Answer {
    find(app, actor, job).await?;
    once(app, actor, async |tx| {
        let decision = decisions::cancel(tx, actor, job).await?;
        answer(tx, actor, job, decision, "cancelled").await
    })
    .await
}

pub async fn retry(app: &App, actor: &Caller, job: JobId) -> Answer {
    find(app, actor, job).await?;
    once(app, actor, async |tx| {
        let decision = decisions::retry(tx, actor, job).await?;
        answer(tx, actor, job, decision, "retried").await
    })
    .await
}

/// The job as it is after the decision.
async fn answer(
    tx: &Transaction<'_>,
    actor: &Actor,
    job: JobId,
    decision: Decision,
    done: &str,
) -> Result<Done, Problem> {
    match decision {
        Decision::Taken { messages } => {
            let response = json(StatusCode::ACCEPTED, &find_on(tx.client(), actor, job).await?)?;
            Ok(Done { response, messages })
        }
        Decision::NotFound => Err(Problem::not_found()),
        Decision::MerchantBusy { by } => Err(merchant_busy(by)),
        Decision::UserBusy { by } => Err(busy(
            "user-busy",
            by,
            "The user who started this import is running another one. Try again when it waits or is done.",
        )),
        Decision::WrongState(status) => {
            let detail = format!("The import is {} and can't be {done}.", status.as_str());
            let mut problem = Problem::conflict("wrong-state", "Wrong state", detail);
            problem.members = json!({ "job_status": status });
            Err(problem)
        }
        Decision::WrongCount { clean } => {
            let mut problem = Problem::conflict(
                "wrong-count",
                "Wrong count",
                format!(
                    "{clean} codes are clean; the approval names another number. Look at the import again."
                ),
            );
            problem.members = json!({ "clean": clean });
            Err(problem)
        }
        Decision::Blocked => Err(Problem::conflict(
            "blocked",
            "Too many duplicates",
            "More of the import is duplicate than its options allow. Look at the counts; to import the rest all the same, say \"accept_duplicates\": true.",
        )),
        Decision::SourceActive => Err(Problem::conflict(
            "source-active",
            "Same files active",
            "The same files are being imported by another job. Wait for it, or cancel it.",
        )),
    }
}
