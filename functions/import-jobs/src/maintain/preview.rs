//! `GET /imports/{id}/rollback`: what a rollback would delete and keep. People read it before they confirm the rollback.

use crate::problems;
use crate::show::find;
use lambda_http::http::StatusCode;
use serde_json::{Value, json};
use shared::db::codes::references::Production;
use shared::db::codes::{self, Preview};
use shared::db::{DbResult, Limits};
use shared::domain::actor::Actor;
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::status::Status;
use shared::http::{Answer, json_answer};
use shared::lambda::App;
use std::time::Duration;

/// How long codes are counted. The gateway gives up after 30 s, the function after 29.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// `GET /imports/{id}/rollback`
pub(crate) async fn preview(app: &App, actor: &Actor, job: JobId) -> Answer {
    let found = find(app, actor, job).await?.view;
    if found.status != Status::Completed {
        let detail = format!("The import is {} and can't be rolled back.", found.status.as_str());
        return Err(problems::wrong_state(found.status, detail));
    }
    let counts = count(app, job, found.merchant_id, TIME_LIMIT).await?;
    json_answer(StatusCode::OK, &describe(job, found.counts.inserted, counts))
}

/// Counts what a rollback would delete and keep. `None`: not within the limit, or our role may not see all references.
pub async fn count(
    app: &App,
    job: JobId,
    merchant: MerchantId,
    limit: Duration,
) -> DbResult<Option<Preview>> {
    let mut connection = app.db.connection().await?;
    // Whoever holds a lock for longer than the limit is a reason not to know, too.
    let tx = connection.begin("preview", Limits { lock: 2 * limit, ..Limits::bulk(limit) }).await?;
    let production = Production::find(&tx).await?;
    if let Some(obstacle) = production.find_obstacle() {
        tracing::warn!(job_id = %job, obstacle, "what a rollback would keep can't be counted");
        tx.rollback().await?;
        return Ok(None);
    }
    let counted = codes::preview(&tx, &production, job, merchant).await;
    tx.rollback().await?;
    match counted {
        Ok(counts) => Ok(Some(counts)),
        Err(error) if error.is_timeout() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The answer: claimed and referenced both include what is of both kinds.
fn describe(job: JobId, inserted: Option<i64>, counts: Option<Preview>) -> Value {
    let kept = |count: fn(&Preview) -> i64| counts.as_ref().map(count);
    json!({
        "job_id": job,
        "inserted": inserted,
        "delete": kept(|counts| counts.codes - counts.claimed - counts.referenced + counts.both),
        "keep": {
            "claimed": kept(|counts| counts.claimed),
            "referenced": kept(|counts| counts.referenced),
            "both": kept(|counts| counts.both),
        },
        "exact": counts.is_some(),
    })
}
