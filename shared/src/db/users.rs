//! Users by their token's subject, and the merchants they belong to.

use super::error::DbResult;
use super::sql;
use crate::domain::ids::{MerchantId, UserId};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// Who a token says is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub subject: String,
    pub email: Option<String>,
    pub email_verified: bool,
}

/// The user of these claims, made on first use.
pub async fn upsert(client: &Client, claims: &Claims) -> DbResult<UserId> {
    let row = sql::USERS_UPSERT
        .one(
            client,
            &[
                (&claims.subject, Type::TEXT),
                (&claims.email, Type::TEXT),
                (&claims.email_verified, Type::BOOL),
            ],
        )
        .await?;
    Ok(UserId(row.get("id")))
}

pub async fn merchants(client: &Client, user: UserId) -> DbResult<Vec<MerchantId>> {
    let rows = sql::USERS_MERCHANTS.all(client, &[(&user.0, Type::UUID)]).await?;
    Ok(rows.iter().map(|row| MerchantId(row.get("merchant_id"))).collect())
}
