//! Uploads that were declared: who may put which object of which size, and what became of it.

use super::error::DbResult;
use super::sql;
use crate::domain::ids::{MerchantId, UserId};
use chrono::{DateTime, Utc};
use std::time::Duration;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// What a caller says they will upload.
#[derive(Debug, Clone)]
pub struct NewUpload<'a> {
    pub id: Uuid,
    pub merchant: MerchantId,
    pub user: UserId,
    pub key: &'a str,
    pub size: i64,
    /// `None`: in one PUT.
    pub part_size: Option<i64>,
    /// How long the links are good.
    pub lifetime: Duration,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub id: Uuid,
    pub key: String,
    pub size: i64,
    pub part_size: Option<i64>,
    pub multipart_id: Option<String>,
    pub expires_at: DateTime<Utc>,
}

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Open,
    /// Too late to complete.
    Expired,
    Completed {
        version_id: Option<String>,
    },
    /// It was not what was declared, and has been removed.
    Rejected,
}

fn upload(row: &Row) -> Upload {
    Upload {
        id: row.get("id"),
        key: row.get("key"),
        size: row.get("size"),
        part_size: row.get("part_size"),
        multipart_id: row.get("multipart_id"),
        expires_at: row.get("expires_at"),
    }
}

/// Declares an upload. The same again by the same user is the same upload with a later expiry; `None`: the key
/// is taken.
pub async fn declare(client: &Client, new: &NewUpload<'_>) -> DbResult<Option<Upload>> {
    let seconds = new.lifetime.as_secs_f64();
    let row = sql::UPLOADS_DECLARE
        .opt(
            client,
            &[
                (&new.id, Type::UUID),
                (&new.merchant.0, Type::UUID),
                (&new.user.0, Type::UUID),
                (&new.key, Type::TEXT),
                (&new.size, Type::INT8),
                (&new.part_size, Type::INT8),
                (&seconds, Type::FLOAT8),
            ],
        )
        .await?;
    Ok(row.as_ref().map(upload))
}

/// Notes S3's id of the multipart upload, and answers the one that counts. `None`: the upload is no longer open.
pub async fn set_multipart(client: &Client, id: Uuid, multipart_id: &str) -> DbResult<Option<String>> {
    let params = &[(&id as _, Type::UUID), (&multipart_id as _, Type::TEXT)];
    let row = sql::UPLOADS_SET_MULTIPART.opt(client, params).await?;
    Ok(row.and_then(|row| row.get("multipart_id")))
}

/// An upload of one of these merchants.
pub async fn find(
    client: &Client,
    id: Uuid,
    merchants: &[MerchantId],
) -> DbResult<Option<(Upload, Standing)>> {
    let merchants: Vec<Uuid> = merchants.iter().map(|merchant| merchant.0).collect();
    let params = &[(&id as _, Type::UUID), (&merchants as _, Type::UUID_ARRAY)];
    let row = sql::UPLOADS_FIND.opt(client, params).await?;
    Ok(row.map(|row| {
        let standing = match row.get("status") {
            "completed" => Standing::Completed { version_id: row.get("version_id") },
            "rejected" => Standing::Rejected,
            _ if row.get("expired") => Standing::Expired,
            _ => Standing::Open,
        };
        (upload(&row), standing)
    }))
}

/// `open -> completed`, once; answers the version that stands. `None`: it was rejected meanwhile.
pub async fn complete(
    client: &Client,
    id: Uuid,
    version_id: Option<&str>,
) -> DbResult<Option<Option<String>>> {
    let params = &[(&id as _, Type::UUID), (&version_id as _, Type::TEXT)];
    let row = sql::UPLOADS_COMPLETE.opt(client, params).await?;
    Ok(row.map(|row| row.get("version_id")))
}

/// `open -> rejected`; true if it was open.
pub async fn reject(client: &Client, id: Uuid) -> DbResult<bool> {
    Ok(sql::UPLOADS_REJECT.run(client, &[(&id, Type::UUID)]).await? == 1)
}

/// A batch of uploads that nothing needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    pub forgotten: usize,
    /// Key and S3's id of those that were never completed.
    pub open_multiparts: Vec<(String, String)>,
}

/// Deletes at most `batch` uploads whose links ran out more than `days` ago.
pub async fn forget(client: &Client, days: i32, batch: u32) -> DbResult<Forgotten> {
    let params = &[(&days as _, Type::INT4), (&i64::from(batch) as _, Type::INT8)];
    let rows = sql::UPLOADS_FORGET.all(client, params).await?;
    let open = |row: &Row| Some((row.get("key"), row.get::<_, Option<String>>("open_multipart")?));
    Ok(Forgotten { forgotten: rows.len(), open_multiparts: rows.iter().filter_map(open).collect() })
}
