//! Uploads that were declared: who may put which object of which size, and what became of it.

use super::connection::Session;
use super::decode::to_duration;
use super::error::DbResult;
use super::statement::statements;
use crate::domain::ids::{MerchantId, UserId};
use crate::domain::object::{FrozenObject, Pin};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

statements! {
    "uploads":
    COMPLETE = "complete";
    COMPLETED = "completed";
    DECLARE = "declare";
    FIND = "find";
    FORGET = "forget";
    REJECT = "reject";
    SET_MULTIPART = "set_multipart";
}

/// What a caller says they will upload.
#[derive(Debug, Clone)]
pub struct NewUpload<'a> {
    /// The upload.
    pub id: Uuid,
    /// Whose file it is.
    pub merchant: MerchantId,
    /// Who uploads it.
    pub user: UserId,
    /// The key of the object.
    pub key: &'a str,
    /// In bytes.
    pub size: i64,
    /// In bytes; `None`: in one PUT.
    pub part_size: Option<i64>,
    /// How long the links work.
    pub lifetime: Duration,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The upload.
    pub id: Uuid,
    /// The key of the object.
    pub key: String,
    /// In bytes.
    pub size: i64,
    /// In bytes; `None`: in one PUT.
    pub part_size: Option<i64>,
    /// S3's id of the multipart upload.
    pub multipart_id: Option<String>,
    /// When its links stop working.
    pub expires_at: DateTime<Utc>,
}

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadStatus {
    /// Its links work.
    Open,
    /// It is too late to complete it.
    Expired,
    /// What came is what was declared.
    Completed {
        /// The version of the object.
        version_id: Option<String>,
    },
    /// It was not what was declared, and has been removed.
    Rejected,
}

impl Upload {
    fn read(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            key: row.get("key"),
            size: row.get("size"),
            part_size: row.get("part_size"),
            multipart_id: row.get("multipart_id"),
            expires_at: row.get("expires_at"),
        }
    }
}

/// How many uploads of a user to one merchant may wait to be sent: those of the largest import.
pub const MAX_OPEN: i64 = 2_000;
/// How many uploads to one merchant may wait to be sent.
pub const MAX_OPEN_OF_MERCHANT: i64 = 10_000;

/// What became of a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// The upload is open.
    Open(Upload),
    /// Another upload has its key.
    KeyTaken,
    /// Too many wait to be sent. The links of the first run out in so many seconds.
    TooMany {
        /// At least 1.
        seconds: u64,
    },
}

/// Declares an upload. The same again by the same user is the same upload with a later expiry.
pub async fn declare(on: &dyn Session, new: &NewUpload<'_>) -> DbResult<Declared> {
    let NewUpload { id, merchant, user, key, size, part_size, lifetime } = new;
    let lifetime = lifetime.as_secs_f64();
    let row = DECLARE
        .one(on, &[id, merchant, user, key, size, part_size, &lifetime, &MAX_OPEN, &MAX_OPEN_OF_MERCHANT])
        .await?;
    if row.get::<_, Option<Uuid>>("id").is_some() {
        return Ok(Declared::Open(Upload::read(&row)));
    }
    if row.get("has_room") {
        return Ok(Declared::KeyTaken);
    }
    Ok(Declared::TooMany { seconds: to_duration(row.get("seconds")).as_secs().max(1) })
}

/// Notes S3's id of the multipart upload, and returns the one that counts. `None`: the upload is no longer open.
pub async fn set_multipart(on: &dyn Session, id: Uuid, multipart_id: &str) -> DbResult<Option<String>> {
    let row = SET_MULTIPART.opt(on, &[&id, &multipart_id]).await?;
    Ok(row.and_then(|row| row.get("multipart_id")))
}

/// An upload of one of these merchants.
pub async fn find(
    on: &dyn Session,
    id: Uuid,
    merchants: &[MerchantId],
) -> DbResult<Option<(Upload, UploadStatus)>> {
    let row = FIND.opt(on, &[&id, &merchants]).await?;
    Ok(row.map(|row| {
        let status = match row.get("status") {
            "completed" => UploadStatus::Completed { version_id: row.get("version_id") },
            "rejected" => UploadStatus::Rejected,
            _ if row.get("expired") => UploadStatus::Expired,
            _ => UploadStatus::Open,
        };
        (Upload::read(&row), status)
    }))
}

/// `open -> completed` with this object, once; returns the version that stands. `None`: it was rejected meanwhile.
pub async fn complete(on: &dyn Session, id: Uuid, object: &FrozenObject) -> DbResult<Option<Option<String>>> {
    let row = COMPLETE.opt(on, &[&id, &object.version_id, &object.etag]).await?;
    Ok(row.map(|row| row.get("version_id")))
}

/// The objects that were completed under these keys, by key.
pub async fn find_completed(on: &dyn Session, keys: &[&str]) -> DbResult<BTreeMap<String, Pin>> {
    let pin = |row: &Row| (row.get("key"), Pin { version_id: row.get("version_id"), etag: row.get("etag") });
    Ok(COMPLETED.all(on, &[&keys]).await?.iter().map(pin).collect())
}

/// `open -> rejected`. `false`: it was not open.
pub async fn reject(on: &dyn Session, id: Uuid) -> DbResult<bool> {
    REJECT.run_guarded(on, &[&id]).await
}

/// A batch of uploads that nothing needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// How many were deleted.
    pub forgotten: usize,
    /// Key and S3's id of those that were never completed.
    pub open_multiparts: Vec<(String, String)>,
}

/// Deletes at most `batch` uploads whose links ran out more than `days` ago.
pub async fn forget(on: &dyn Session, days: i32, batch: u32) -> DbResult<Forgotten> {
    let rows = FORGET.all(on, &[&days, &i64::from(batch)]).await?;
    let open = |row: &Row| Some((row.get("key"), row.get::<_, Option<String>>("open_multipart")?));
    Ok(Forgotten { forgotten: rows.len(), open_multiparts: rows.iter().filter_map(open).collect() })
}
