//! Users by their token's subject, and the merchants they belong to.

use super::decisions::Actor;
use super::error::DbResult;
use super::idempotency::{Keyed, Stored};
use super::pool::Database;
use super::rows::Param;
use super::sql;
use crate::domain::ids::{MerchantId, UserId};
use tokio_postgres::types::Type;
use uuid::Uuid;

/// Who a token says is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub subject: String,
    pub email: Option<String>,
    pub email_verified: bool,
}

/// The user of these claims, made on first use, and the merchants they belong to; with a key, also the answer that was
/// given to the same request, which counts as a replay. The first statement of a request.
pub async fn caller(
    db: &Database,
    claims: &Claims,
    keyed: Option<&Keyed>,
) -> DbResult<(Actor, Option<Stored>)> {
    let key = keyed.map(|keyed| keyed.key.as_str());
    let fingerprint = keyed.map(|keyed| keyed.fingerprint.as_slice());
    let params: &[Param<'_>] = &[
        (&claims.subject, Type::TEXT),
        (&claims.email, Type::TEXT),
        (&claims.email_verified, Type::BOOL),
        (&key, Type::TEXT),
        (&fingerprint, Type::BYTEA),
    ];
    let row = db.first(&sql::USERS_CALLER, params).await?;
    let merchants: Vec<Uuid> = row.get("merchants");
    let merchants = merchants.into_iter().map(MerchantId).collect();
    Ok((Actor { user: UserId(row.get("id")), merchants }, Stored::read(&row)?))
}
