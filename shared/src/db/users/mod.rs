//! Users by their token's subject, and the merchants they belong to.

use super::connection::Session;
use super::error::DbResult;
use super::idempotency_keys::{Keyed, Stored};
use super::pool::Database;
use super::statement::statements;
use crate::domain::actor::Actor;
use crate::domain::ids::{MerchantId, UserId};
use chrono::{DateTime, Utc};
use std::time::Duration;
use uuid::Uuid;

statements! {
    "users":
    BEGIN_CHECK = "begin_check";
    END_CHECK = "end_check";
    IDENTIFY = "identify";
}

/// What a token says about its bearer. `None`: it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims {
    /// The issuer's name for them.
    pub subject: String,
    /// Their e-mail address.
    pub email: Option<String>,
    /// The issuer has verified that address.
    pub email_verified: Option<bool>,
}

/// Finds the user of these claims, made on first use, and the merchants they belong to; with a key, also the answer that
/// was given to the same request, which counts as a replay. The first statement of a request.
pub async fn identify(
    db: &Database,
    claims: &TokenClaims,
    keyed: Option<&Keyed>,
) -> DbResult<(Actor, Option<Stored>)> {
    let key = keyed.map(|keyed| keyed.key.as_str());
    let fingerprint = keyed.map(|keyed| keyed.fingerprint.as_slice());
    let row = db
        .first(&IDENTIFY, &[&claims.subject, &claims.email, &claims.email_verified, &key, &fingerprint])
        .await?;
    let merchants: Vec<Uuid> = row.get("merchants");
    let merchants = merchants.into_iter().map(MerchantId).collect();
    Ok((Actor { user: UserId(row.get("id")), merchants }, Stored::read(&row)?))
}

/// Counts a check of files in, and returns until when it counts: `limit` from now. `None`: the user has `most` under way.
pub async fn begin_check(
    on: &dyn Session,
    user: UserId,
    most: i64,
    limit: Duration,
) -> DbResult<Option<DateTime<Utc>>> {
    let row = BEGIN_CHECK.opt(on, &[&user, &most, &limit.as_secs_f64()]).await?;
    Ok(row.map(|row| row.get("ends_at")))
}

/// Counts the check out that counts until then. `false`: it was counted out already.
pub async fn end_check(on: &dyn Session, user: UserId, ends_at: DateTime<Utc>) -> DbResult<bool> {
    END_CHECK.run_guarded(on, &[&user, &ends_at]).await
}
