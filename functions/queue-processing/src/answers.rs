//! Words the answers: the caller's own import, a start, and the 409 that names who is in the way.

use lambda_http::http::StatusCode;
use lambda_http::http::header::{HeaderValue, RETRY_AFTER};
use serde_json::json;
use shared::db::user_profiles::OwnImport;
use shared::domain::ids::JobId;
use shared::domain::lease::Holder;
use shared::http::{Answer, json_answer, status_url};
use std::time::Duration;

/// 200: the caller's own import.
pub(crate) fn own_import(own: &OwnImport) -> Answer {
    json_answer(
        StatusCode::OK,
        &json!({
            "status": own.status,
            "elapsedMinutes": own.elapsed.map(whole_minutes),
            "jobId": own.job,
            "statusUrl": own.job.map(status_url),
        }),
    )
}

/// 202: the import is queued.
pub(crate) fn started(job: JobId) -> Answer {
    json_answer(
        StatusCode::ACCEPTED,
        &json!({ "jobId": job, "status": "processing", "statusUrl": status_url(job) }),
    )
}

/// 409, as plain JSON: its clients read `status` as a word, which a problem document has as a number.
pub(crate) fn held(holder: &Holder) -> Answer {
    let mut response = json_answer(
        StatusCode::CONFLICT,
        &json!({
            "error": "Import already in progress. Please wait for it to complete.",
            "status": "processing",
            "elapsedMinutes": whole_minutes(holder.elapsed),
            "jobId": holder.job,
            "startedAt": holder.started_at,
            "statusUrl": holder.job.map(status_url),
        }),
    )?;
    let seconds = holder.stuck_in.as_secs().max(1);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    Ok(response)
}

/// Minutes, rounded down.
pub(crate) fn whole_minutes(elapsed: Duration) -> u64 {
    elapsed.as_secs() / 60
}
