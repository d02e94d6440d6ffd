//! Words the answers: the caller's own import, a start, and the 409 that names who is in the way.

use lambda_http::http::StatusCode;
use lambda_http::http::header::{HeaderValue, RETRY_AFTER};
use serde_json::json;
use shared::db::user_profiles::OwnImport;
use shared::domain::ids::JobId;
use shared::domain::lease::Holder;
use shared::http::{Answer, json_answer, status_url};
use std::time::Duration;

/// The bounds of `Retry-After`, and what it is while the import in the way can't tell how long it will take.
const SOONEST: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(60);
const WITHOUT_ETA: Duration = Duration::from_secs(10);

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

/// 409, as plain JSON: its clients read `status` as a word, which a problem document has as a number. `eta`: of what the import
/// in the way is doing, if it is known.
pub(crate) fn held(holder: &Holder, eta: Option<Duration>) -> Answer {
    if holder.waits_for_approval {
        // Asking again can't help: a person decides.
        return json_answer(
            StatusCode::CONFLICT,
            &json!({
                "error": "These files wait for approval.",
                "status": "awaiting_approval",
                "jobId": holder.job,
                "statusUrl": holder.job.map(status_url),
            }),
        );
    }
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
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ask_again(holder.stuck_in, eta).as_secs()));
    Ok(response)
}

/// When asking again makes sense: when the import in the way may have ended, or is stuck.
fn ask_again(stuck_in: Duration, eta: Option<Duration>) -> Duration {
    eta.unwrap_or(WITHOUT_ETA).min(stuck_in).clamp(SOONEST, LATEST)
}

/// Minutes, rounded down.
pub(crate) fn whole_minutes(elapsed: Duration) -> u64 {
    elapsed.as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_makes_sense_when_the_import_in_the_way_may_have_ended() {
        let seconds = Duration::from_secs;
        for (stuck_in, eta, expected) in [
            (900, Some(31), 31),
            (900, Some(0), 2),
            (900, Some(4000), 60),
            (900, None, 10),
            (5, None, 5),
            (5, Some(40), 5),
            (0, Some(40), 2),
        ] {
            assert_eq!(
                ask_again(seconds(stuck_in), eta.map(seconds)),
                seconds(expected),
                "{stuck_in} {eta:?}"
            );
        }
    }
}
