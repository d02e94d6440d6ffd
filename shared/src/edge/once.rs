//! The idempotency wrapper: one line around the work of a POST. Claim, work and stored answer are one transaction.

use super::app::App;
use super::deliver::{Delivery, deliver};
use super::http::{Answer, Caller, Problem};
use super::metrics::{Metric, count};
use crate::db::idempotency::{self, Claim, Keyed, ONCE, Stored};
use crate::db::transaction::{Transaction, begin, commit};
use crate::domain::idempotency::IdempotencyKey;
use lambda_http::http::{HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a POST did: the answer, and outbox rows to deliver after the commit.
#[derive(Debug)]
pub struct Done {
    pub response: Response<Body>,
    pub messages: Vec<i64>,
}

impl From<Response<Body>> for Done {
    fn from(response: Response<Body>) -> Self {
        Self { response, messages: Vec::new() }
    }
}

/// Does `work` once per `Idempotency-Key` of the caller, or once per request where there is no key.
///
/// A 2xx is stored with the work and committed; anything else rolls back whole and may be tried again with the same
/// key. The same key and request again: the stored answer, which came with the caller, and `Idempotent-Replayed: true`.
/// The same key with another method, path or body: 422. While the first is at work the second waits for it; after ten
/// seconds, 409.
pub async fn once<W>(app: &App, caller: &Caller, work: W) -> Answer
where
    W: AsyncFnOnce(&mut Transaction<'_>) -> Result<Done, Problem>,
{
    let keyed = caller.keyed.as_ref().map_err(Problem::clone)?;
    count(if keyed.is_some() { Metric::KeyedRequests } else { Metric::KeylessRequests });
    if let Some(stored) = &caller.answered {
        return Ok(replay(stored));
    }
    let mut connection = app.db.connection().await?;
    let mut tx = match keyed {
        None => begin(&mut connection, ONCE, idempotency::limits()).await?,
        Some(keyed) => match idempotency::claim(&mut connection, caller.user, keyed).await? {
            Claim::Won(tx) => tx,
            Claim::Done(stored) => return Ok(replay(&stored)),
            Claim::Mismatch => {
                count(Metric::IdempotencyMismatches);
                return Err(mismatch());
            }
            Claim::InProgress => {
                count(Metric::IdempotencyConflicts);
                return Err(in_progress());
            }
        },
    };
    let done = work(&mut tx).await?;
    if !done.response.status().is_success() {
        return Ok(done.response);
    }
    match keyed {
        None => commit(tx, ONCE).await?,
        Some(Keyed { key, .. }) => {
            idempotency::commit_answered(tx, caller.user, key, &stored(&done.response)).await?;
        }
    }
    drop(connection);
    if deliver(app, &done.messages).await == Delivery::Refused {
        if let Some(Keyed { key, .. }) = keyed {
            idempotency::forget(&app.db.connection().await?, caller.user, key).await?;
        }
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "start-refused",
            "Start refused",
            "What was asked for could not be started, and was undone. Nothing was imported.",
        ));
    }
    Ok(done.response)
}

/// The request's key, if it has one, and what it comes with.
pub(super) fn keyed(request: &Request) -> Result<Option<Keyed>, Problem> {
    let mut headers = request.headers().get_all("idempotency-key").iter();
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(Problem::bad_request("There is more than one Idempotency-Key; send one."));
    }
    let key = IdempotencyKey::parse(header.as_bytes())
        .map_err(|error| Problem::bad_request(format!("{error}.")))?;
    Ok(Some(Keyed { key, fingerprint: fingerprint(request) }))
}

/// SHA-256 of (method, path, raw body), each with its length.
fn fingerprint(request: &Request) -> [u8; 32] {
    let mut hash = Sha256::new();
    let parts: [&[u8]; 3] =
        [request.method().as_str().as_bytes(), request.raw_http_path().as_bytes(), request.body()];
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn stored(response: &Response<Body>) -> Stored {
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        value.to_str().ok().map(|value| json!([name.as_str(), value]))
    };
    Stored {
        status: response.status().as_u16(),
        headers: response.headers().iter().filter_map(header).collect(),
        body: response.body().to_vec(),
    }
}

fn replay(stored: &Stored) -> Response<Body> {
    count(Metric::IdempotentReplays);
    let body = String::from_utf8(stored.body.clone());
    let mut response = Response::new(body.map_or_else(|e| Body::Binary(e.into_bytes()), Body::Text));
    *response.status_mut() = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    for header in stored.headers.as_array().into_iter().flatten() {
        let part = |at: usize| header.get(at).and_then(Value::as_str).unwrap_or_default();
        if let (Ok(name), Ok(value)) = (part(0).parse::<HeaderName>(), part(1).parse::<HeaderValue>()) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

fn mismatch() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "Idempotency key reused",
        "This Idempotency-Key was used with another request. Use a new key for a new intent.",
    )
}

fn in_progress() -> Problem {
    let mut problem = Problem::conflict(
        "request-in-progress",
        "Request in progress",
        "The first request with this Idempotency-Key is still at work. Try again in a moment.",
    );
    problem.retry_after = Some(2);
    problem
}
