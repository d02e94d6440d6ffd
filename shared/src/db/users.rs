//! Users by their token's subject, and the merchants they belong to.

use super::decisions::Actor;
use super::error::DbResult;
use super::rows::Param;
use super::sql;
use crate::domain::ids::{MerchantId, UserId};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// Who a token says is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub subject: String,
    pub email: Option<String>,
    pub email_verified: bool,
}

/// The user of these claims, made on first use, and the merchants they belong to.
pub async fn actor(client: &Client, claims: &Claims) -> DbResult<Actor> {
    let params: &[Param<'_>] =
        &[(&claims.subject, Type::TEXT), (&claims.email, Type::TEXT), (&claims.email_verified, Type::BOOL)];
    let row = match sql::USERS_UPSERT.opt(client, params).await? {
        Some(row) => row,
        // Made by somebody else while this statement, which doesn't see it, was under way. The next one does.
        None => sql::USERS_UPSERT.one(client, params).await?,
    };
    let merchants: Vec<Uuid> = row.get("merchants");
    Ok(Actor { user: UserId(row.get("id")), merchants: merchants.into_iter().map(MerchantId).collect() })
}
