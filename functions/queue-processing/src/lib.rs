//! `POST /imports/queue-processing`: starts an import for the caller; 409 while one of theirs, or of the merchant,
//! is fresh. `GET`: the caller's own, for a page that loads.

use chrono::{DateTime, Utc};
use lambda_http::http::header::{HeaderValue, RETRY_AFTER};
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Request, Response};
use serde_json::json;
use shared::db::claims::{self, Claimed, Holder, Start};
use shared::db::pool::client;
use shared::domain::ids::JobId;
use shared::domain::source::StartRequest;
use shared::edge::deliver::deliver_promised;
use shared::edge::http::{Answer, Caller, body_of_member, caller, json, try_again};
use shared::edge::metrics::{Metric, count};
use shared::edge::start::{freeze, info, status_url};
use shared::edge::{App, Done, once};
use std::time::Duration;

/// The handler.
pub async fn handle(app: App, request: Request) -> Answer {
    let caller = caller(&app, &request).await?;
    match *request.method() {
        Method::GET => show(&app, &caller).await,
        _ => queue(&app, &caller, &request).await,
    }
}

/// The caller's own import.
async fn show(app: &App, caller: &Caller) -> Answer {
    let connection = app.db.connection().await?;
    let own = claims::own(client(&connection), caller.user).await?;
    json(
        StatusCode::OK,
        &json!({
            "status": own.status,
            "elapsedMinutes": own.elapsed.map(minutes),
            "jobId": own.job,
            "statusUrl": own.job.map(status_url),
        }),
    )
}

async fn queue(app: &App, caller: &Caller, request: &Request) -> Answer {
    let asked: StartRequest = body_of_member(request, caller)?;
    let source = asked.check()?;
    let frozen = freeze(app, &source, None).await;
    let start = Start {
        job: JobId::generate(),
        merchant: source.merchant,
        user: caller.user,
        source_info: info(&asked, "queue-processing", None),
        mapping: &source.mapping,
        options: source.options,
        frozen: frozen.as_ref(),
    };
    let mut refused = None;
    let answer = once(app, caller, async |tx| match claims::queue(tx, &start).await? {
        Claimed::Started { messages, stuck } => {
            if let Some(elapsed) = stuck {
                count(Metric::SupersededImports);
                tracing::warn!(
                    job_id = %start.job,
                    "[QueueProcessing] Stuck import detected ({}min), allowing retry for user {}",
                    minutes(elapsed),
                    caller.user
                );
            }
            Ok(Done { response: started(start.job)?, messages })
        }
        Claimed::Held(holder) => {
            let response = held(&holder)?;
            refused = Some(holder);
            Ok(response.into())
        }
        Claimed::TryAgain => Err(try_again()),
    })
    .await;
    if let Some(holder) = refused {
        count(Metric::ImportConflicts);
        if holder.no_start {
            claims::start_clock(client(&app.db.connection().await?), caller.user).await?;
        }
        deliver_promised(app).await;
    }
    answer
}

fn started(job: JobId) -> Answer {
    json(StatusCode::ACCEPTED, &json!({ "jobId": job, "status": "processing", "statusUrl": status_url(job) }))
}

/// 409, plain JSON: its clients read `status` as a word.
fn held(holder: &Holder) -> Answer {
    let started_at: Option<DateTime<Utc>> = holder.started_at;
    let mut response: Response<Body> = json(
        StatusCode::CONFLICT,
        &json!({
            "error": "Import already in progress. Please wait for it to complete.",
            "status": "processing",
            "elapsedMinutes": minutes(holder.elapsed),
            "jobId": holder.job,
            "startedAt": started_at.unwrap_or_else(Utc::now),
            "statusUrl": holder.job.map(status_url),
        }),
    )?;
    let seconds = holder.stuck_in.as_secs().max(1);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    Ok(response)
}

/// Whole minutes, as a person counts them.
fn minutes(elapsed: Duration) -> u64 {
    elapsed.as_secs() / 60
}
