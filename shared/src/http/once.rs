//! The transaction of a POST: the work is done once per `Idempotency-Key`, and its answer is stored beside it.

use super::answer::Answer;
use super::caller::Caller;
use super::problem::Problem;
use crate::db::Transaction;
use crate::db::idempotency_keys::{self, Claim, Keyed, MAX_KEYS, Stored};
use crate::db::outbox::Promises;
use crate::domain::ids::UserId;
use crate::lambda::App;
use crate::lambda::deliver::{Delivery, deliver};
use crate::lambda::metrics::{Metric, count};
use lambda_http::http::{HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde_json::{Value, json};

/// What the work of a POST came to.
#[derive(Debug)]
pub struct Done {
    /// The answer. Anything but a 2xx rolls the work back.
    pub response: Response<Body>,
    /// Messages to deliver after the commit.
    pub promises: Promises,
}

impl From<Response<Body>> for Done {
    fn from(response: Response<Body>) -> Self {
        Self { response, promises: Promises::none() }
    }
}

/// Does `work` once per `Idempotency-Key` of the caller, or once per request that has no key.
///
/// Claim, work and stored answer are one transaction. A 2xx commits it; anything else rolls it back whole, and the
/// request may be tried again with the same key. The same key with the same request gets the stored answer, with
/// `Idempotent-Replayed: true`. The same key with another method, path or body is refused with 422. A request that
/// arrives while the first one is at work waits for it, and is refused with 409 after ten seconds.
pub async fn once<W>(app: &App, caller: &Caller, work: W) -> Answer
where
    W: AsyncFnOnce(&mut Transaction<'_>) -> Result<Done, Problem>,
{
    let keyed = caller.keyed.as_ref().map_err(Problem::clone)?.as_ref();
    count(if keyed.is_some() { Metric::KeyedRequests } else { Metric::KeylessRequests });
    if let Some(stored) = &caller.answered {
        return Ok(replay(stored));
    }
    let mut connection = app.db.connection().await?;
    let mut tx = connection.begin("once", idempotency_keys::limits()).await?;
    let done = match claim_and_work(&mut tx, caller.user, keyed, work).await {
        Ok(Outcome::Done(done)) => done,
        Ok(Outcome::Replayed(stored)) => {
            // The claim has counted the replay.
            tx.commit().await?;
            return Ok(replay(&stored));
        }
        Ok(Outcome::Refused(response)) => {
            roll_back(tx).await;
            return Ok(response);
        }
        Err(problem) => {
            roll_back(tx).await;
            return Err(problem);
        }
    };
    tx.commit().await?;
    drop(connection);
    if deliver(app, done.promises).await == Delivery::Refused {
        take_back(app, caller.user, keyed).await?;
        return Err(start_refused());
    }
    Ok(done.response)
}

/// What happened inside of the transaction.
enum Outcome {
    /// The work is done, and its answer is stored.
    Done(Done),
    /// The work was done before, with this answer.
    Replayed(Stored),
    /// The work was refused with this answer.
    Refused(Response<Body>),
}

async fn claim_and_work<W>(
    tx: &mut Transaction<'_>,
    user: UserId,
    keyed: Option<&Keyed>,
    work: W,
) -> Result<Outcome, Problem>
where
    W: AsyncFnOnce(&mut Transaction<'_>) -> Result<Done, Problem>,
{
    if let Some(keyed) = keyed
        && let Some(stored) = claim(tx, user, keyed).await?
    {
        return Ok(Outcome::Replayed(stored));
    }
    let done = work(tx).await?;
    if !done.response.status().is_success() {
        return Ok(Outcome::Refused(done.response));
    }
    if let Some(Keyed { key, .. }) = keyed {
        idempotency_keys::store(tx, user, key, &stored(&done.response)).await?;
    }
    Ok(Outcome::Done(done))
}

/// Claims the key for this request. Returns the stored answer if the work was done before.
async fn claim(tx: &Transaction<'_>, user: UserId, keyed: &Keyed) -> Result<Option<Stored>, Problem> {
    match idempotency_keys::claim(tx, user, keyed).await {
        Ok(Claim::Won) => Ok(None),
        Ok(Claim::Done(stored)) => Ok(Some(stored)),
        Ok(Claim::Mismatch) => {
            count(Metric::IdempotencyMismatches);
            Err(mismatch())
        }
        Ok(Claim::TooMany { seconds }) => Err(too_many_keys(seconds)),
        Err(error) if error.is_lock_timeout() => {
            count(Metric::IdempotencyConflicts);
            Err(in_progress())
        }
        Err(error) => Err(error.into()),
    }
}

/// Rolls back what was refused. The refusal stands even if this fails: then the connection is closed, and the server
/// rolls back.
async fn roll_back(tx: Transaction<'_>) {
    tx.rollback().await.ok();
}

/// Takes the stored answer back, because what it promised can't be kept. An answer that has expired is gone already.
async fn take_back(app: &App, user: UserId, keyed: Option<&Keyed>) -> Result<(), Problem> {
    if let Some(Keyed { key, .. }) = keyed {
        let forgotten = idempotency_keys::forget(&app.db.connection().await?, user, key).await?;
        tracing::info!(forgotten, "the start was refused; its stored answer is taken back");
    }
    Ok(())
}

fn start_refused() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "start-refused",
        "Start refused",
        "The import could not be started, and the request was undone. Nothing was imported.",
    )
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
        "This Idempotency-Key was used with another request. Use a new key for a new request.",
    )
}

fn too_many_keys(seconds: u64) -> Problem {
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-keys",
        "Too many keys",
        format!(
            "Your answers of the last 24 hours are kept under {MAX_KEYS} keys at most, and they are full. Wait, or send the request without a key."
        ),
    );
    problem.retry_after = Some(seconds);
    problem
}

fn in_progress() -> Problem {
    let mut problem = Problem::conflict(
        "request-in-progress",
        "Request in progress",
        "The first request with this Idempotency-Key is still being processed. Try again in a moment.",
    );
    problem.retry_after = Some(2);
    problem
}
