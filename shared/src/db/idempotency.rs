//! The claim of an `Idempotency-Key`: its row is written first, in the transaction that does the work and stores the
//! answer. A crash leaves no trace, a concurrent duplicate waits.

use super::error::{DbError, DbResult};
use super::pool::Connection;
use super::rows::Param;
use super::sql;
use super::transaction::{Limits, Transaction, begin_with, commit, commit_with};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::ids::UserId;
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// The transaction of a request; `claim_idempotency_key` runs in no other.
pub const ONCE: &str = "once";

/// How long a duplicate waits for the first.
pub const WAIT: Duration = Duration::from_secs(10);

/// A key, and what it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    pub key: IdempotencyKey,
    /// SHA-256 of (method, path, raw body).
    pub fingerprint: [u8; 32],
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub status: u16,
    /// `[[name, value], ...]`
    pub headers: Value,
    pub body: Vec<u8>,
}

impl Stored {
    /// The columns `response_*`; none where nothing was answered yet.
    pub(super) fn read(row: &Row) -> DbResult<Option<Self>> {
        let Some(status) = row.get::<_, Option<i16>>("response_status") else { return Ok(None) };
        Ok(Some(Self {
            status: u16::try_from(status).map_err(|e| DbError::new("idempotency_keys.read", e))?,
            headers: row.get("response_headers"),
            body: row.get("response_body"),
        }))
    }
}

/// What became of a claim.
pub enum Claim<'a> {
    /// It is ours: work in this transaction, store the answer, commit.
    Won(Transaction<'a>),
    /// The work was done before.
    Done(Stored),
    /// The key belongs to another request.
    Mismatch,
    /// The first request is still at work.
    InProgress,
}

/// Begins the transaction of a request and claims its key in the same round trip.
pub async fn claim<'a>(connection: &'a mut Connection, user: UserId, keyed: &Keyed) -> DbResult<Claim<'a>> {
    let (key, fingerprint) = (keyed.key.as_str(), keyed.fingerprint.as_slice());
    let params: &[Param<'_>] = &[(&user.0, Type::UUID), (&key, Type::TEXT), (&fingerprint, Type::BYTEA)];
    let begun = begin_with(connection, ONCE, limits(), &sql::IDEMPOTENCY_KEYS_CLAIM, params).await;
    let (tx, row) = match begun {
        Ok(begun) => begun,
        Err(error) if error.is_lock_timeout() => return Ok(Claim::InProgress),
        Err(error) => return Err(error),
    };
    if !row.get::<_, bool>("same") {
        return Ok(Claim::Mismatch);
    }
    let Some(stored) = Stored::read(&row)? else { return Ok(Claim::Won(tx)) };
    // The count of replays.
    commit(tx, ONCE).await?;
    Ok(Claim::Done(stored))
}

/// Stores the answer beside the work and commits both.
pub async fn commit_answered(
    tx: Transaction<'_>,
    user: UserId,
    key: &IdempotencyKey,
    answer: &Stored,
) -> DbResult<()> {
    let status = i16::try_from(answer.status).unwrap_or(i16::MAX);
    let params: &[Param<'_>] = &[
        (&user.0, Type::UUID),
        (&key.as_str(), Type::TEXT),
        (&status, Type::INT2),
        (&answer.headers, Type::JSONB),
        (&answer.body, Type::BYTEA),
    ];
    commit_with(tx, ONCE, &sql::IDEMPOTENCY_KEYS_STORE, params).await.map(drop)
}

/// Takes a stored answer back.
pub async fn forget(connection: &Connection, user: UserId, key: &IdempotencyKey) -> DbResult<()> {
    let params: &[Param<'_>] = &[(&user.0, Type::UUID), (&key.as_str(), Type::TEXT)];
    sql::IDEMPOTENCY_KEYS_FORGET.run(super::pool::client(connection), params).await.map(|_| ())
}

/// Bounds of a request's transaction; API Gateway gives up after 30 s.
pub fn limits() -> Limits {
    Limits { statement: WAIT + Duration::from_secs(5), lock: WAIT, bulk: false }
}
