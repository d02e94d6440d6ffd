//! What an operator does with an import until it is over: approve, retry, ask again.

use crate::Outcome;
use crate::local::Local;
use serde_json::{Value, json};

/// What the operator did with it, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Approved,
    Retried,
    /// It works, or is over.
    Nothing,
    /// The API said no for now.
    Refused,
}

/// Approves the import if it waits, and retries it if it has failed.
pub(crate) async fn tend(local: &Local, token: &str, job: &str) -> Outcome<(Deed, Value)> {
    let found = local.api.get(token, &format!("/imports/{job}")).await?.body();
    let (path, body, deed) = match found["status"].as_str().unwrap_or_default() {
        "awaiting_approval" if found["phase"] != "waiting_for_merchant" => {
            let clean = found["counts"]["clean"].clone();
            let body = json!({ "confirm": "YES", "clean_count": clean, "accept_duplicates": true });
            ("approve", body, Deed::Approved)
        }
        "failed" => ("retry", json!({}), Deed::Retried),
        _ => return Ok((Deed::Nothing, found)),
    };
    let answer = local.api.post(token, &format!("/imports/{job}/{path}"), body).await?;
    Ok((if answer.is_success() { deed } else { Deed::Refused }, found))
}
