//! The claim of an `Idempotency-Key`: its row is written first, in the transaction that does the work and stores the
//! answer. A crash leaves no trace, a concurrent duplicate waits.

use super::bind::Bind;
use super::connection::Session;
use super::decode::to_duration;
use super::error::{DbError, DbResult};
use super::statement::statements;
use super::transaction::Limits;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::ids::UserId;
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::Row;

statements! {
    "idempotency_keys":
    CLAIM = "claim";
    DELETE_EXPIRED = "delete_expired";
    FORGET = "forget";
    STORE = "store";
}

/// How many keys of a user are kept at a time: seven a minute, all day long.
pub const MAX_KEYS: i64 = 10_000;
/// How many bytes of answers of a user are kept at a time. An answer has 2 KB; one about an import, 20 KB at most.
pub const MAX_ANSWER_BYTES: i64 = 32 * 1024 * 1024;

/// How long a duplicate waits for the first request with its key.
pub const WAIT: Duration = Duration::from_secs(10);

/// A key, and what it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: IdempotencyKey,
    /// SHA-256 of (method, path, raw body).
    pub fingerprint: [u8; 32],
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The status of HTTP.
    pub status: u16,
    /// `[[name, value], ...]`
    pub headers: Value,
    /// The body.
    pub body: Vec<u8>,
}

impl Stored {
    /// Reads the columns `response_*`; `None` where nothing was answered yet.
    pub(super) fn read(row: &Row) -> DbResult<Option<Self>> {
        let Some(status) = row.get::<_, Option<i16>>("response_status") else { return Ok(None) };
        Ok(Some(Self {
            status: u16::try_from(status)
                .map_err(|_| DbError::defect("idempotency_keys.read", format!("{status} is no status")))?,
            headers: row.get("response_headers"),
            body: row.get("response_body"),
        }))
    }
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is ours: work in this transaction, store the answer, commit.
    Won,
    /// The work was done before.
    Done(Stored),
    /// The key belongs to another request.
    Mismatch,
    /// The user holds as many keys as they may. The first of them expires in so many seconds.
    TooMany {
        /// At least 1.
        seconds: u64,
    },
}

/// Claims a key for the request of this transaction. Waits while another request with the key is at work.
pub async fn claim(on: &dyn Session, user: UserId, keyed: &Keyed) -> DbResult<Claim> {
    let binds: &[&dyn Bind] =
        &[&user, &keyed.key.as_str(), &keyed.fingerprint.as_slice(), &MAX_KEYS, &MAX_ANSWER_BYTES];
    let row = CLAIM.one(on, binds).await?;
    match row.get("same") {
        None => {
            let left = to_duration(row.get("seconds"));
            Ok(Claim::TooMany { seconds: left.as_secs().max(1) })
        }
        Some(false) => Ok(Claim::Mismatch),
        Some(true) => Ok(Stored::read(&row)?.map_or(Claim::Won, Claim::Done)),
    }
}

/// Stores the answer beside the work.
pub async fn store(on: &dyn Session, user: UserId, key: &IdempotencyKey, answer: &Stored) -> DbResult<()> {
    let status = i16::try_from(answer.status).unwrap_or(i16::MAX);
    let Stored { headers, body, .. } = answer;
    STORE.run_one(on, &[&user, &key.as_str(), &status, headers, body]).await
}

/// Takes a stored answer back: what it promised can't be kept. `false`: it is gone.
pub async fn forget(on: &dyn Session, user: UserId, key: &IdempotencyKey) -> DbResult<bool> {
    FORGET.run_guarded(on, &[&user, &key.as_str()]).await
}

/// Deletes at most `batch` expired keys, and returns how many.
pub async fn delete_expired(on: &dyn Session, batch: u32) -> DbResult<u64> {
    DELETE_EXPIRED.run_many(on, &[&i64::from(batch)]).await
}

/// Bounds of a request's transaction; API Gateway gives up after 30 s.
pub fn limits() -> Limits {
    Limits { statement: WAIT + Duration::from_secs(5), lock: WAIT, bulk: false }
}
