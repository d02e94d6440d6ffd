//! Idempotency keys that nobody may ask for any more.

use super::error::DbResult;
use super::pool::Connection;
use super::sql;
use super::transaction::{Limits, begin, commit};
use tokio_postgres::types::Type;

/// Deletes at most `batch` expired keys, in a transaction of its own. Returns how many.
pub async fn delete(connection: &mut Connection, batch: u32) -> DbResult<u64> {
    const NAME: &str = "expired_keys.delete";
    let tx = begin(connection, NAME, Limits::short()).await?;
    let deleted = sql::IDEMPOTENCY_KEYS_EXPIRE.run(tx.client(), &[(&i64::from(batch), Type::INT8)]).await?;
    commit(tx, NAME).await?;
    Ok(deleted)
}
