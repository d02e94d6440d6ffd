//! Problems that several routes answer with.

use serde_json::json;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::http::Problem;

/// The problem of a merchant whose lease another import has.
pub(crate) const MERCHANT_BUSY: &str = "merchant-busy";

/// 409: another import of the merchant works.
pub(crate) fn merchant_busy(by: Option<JobId>) -> Problem {
    let detail = "Another import of this merchant is working. Try again when it waits or has ended.";
    busy(MERCHANT_BUSY, by, detail)
}

/// 409: the user who started the job has another import that works.
pub(crate) fn user_busy(by: Option<JobId>) -> Problem {
    let detail =
        "The user who started this import is running another one. Try again when it waits or has ended.";
    busy("user-busy", by, detail)
}

fn busy(name: &'static str, by: Option<JobId>, detail: &str) -> Problem {
    let mut problem = Problem::conflict(name, "Another import is working", detail);
    problem.members = json!({ "active_job_id": by });
    problem.retry_after = Some(10);
    problem
}

/// 409: the job's state doesn't allow it.
pub(crate) fn wrong_state(status: Status, detail: String) -> Problem {
    let mut problem = Problem::conflict("wrong-state", "Wrong state", detail);
    problem.members = json!({ "job_status": status });
    problem
}

/// 422 unless the request confirms what it asks for with this very word.
pub(crate) fn check_confirmation(word: &str, wanted: &str, deed: &str) -> Result<(), Problem> {
    if word == wanted {
        return Ok(());
    }
    Err(Problem::unprocessable("/confirm", format!("To {deed}, `confirm` must be \"{wanted}\".")))
}
