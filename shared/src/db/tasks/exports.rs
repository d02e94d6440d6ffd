//! Exports of an import: those that its end asks for, and those that are shown.

use super::{EXPORT_AT_CLOSE, EXPORTS, promise_start};
use crate::db::connection::Session;
use crate::db::error::{DbError, DbResult};
use crate::db::outbox::Promises;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::task::{Action, TaskStatus};
use chrono::{DateTime, Utc};
use serde_json::Value;

/// Makes the exports that a completed import leaves by itself: its duplicates and its rejects, if it has any.
pub async fn export_at_close(on: &dyn Session, job: JobId) -> DbResult<Promises> {
    let mut promises = Promises::none();
    for row in EXPORT_AT_CLOSE.all(on, &[&job]).await? {
        promises.extend(promise_start(on, job, TaskId(row.get("id")), Action::Export).await?);
    }
    Ok(promises)
}

/// An export as `GET /imports/{id}/exports` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// An `ExportKind`, or `claimed`: the codes that a rollback has kept.
    pub kind: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its files.
    pub result: Option<Value>,
    /// Why it failed.
    pub error_message: Option<String>,
}

/// Of each kind the latest export that is done, the one under way, and a failure if nothing came after it.
pub async fn list_exports(on: &dyn Session, job: JobId) -> DbResult<Vec<Export>> {
    let mut all = Vec::new();
    for row in EXPORTS.all(on, &[&job]).await? {
        let status: &str = row.get("status");
        all.push(Export {
            kind: row.get("kind"),
            status: TaskStatus::by_name(status)
                .ok_or_else(|| DbError::defect(EXPORTS.name, format!("`{status}` is no status of a task")))?,
            requested_at: row.get("requested_at"),
            finished_at: row.get("finished_at"),
            result: row.get("result"),
            error_message: row.get("error_message"),
        });
    }
    let has_newer = |export: &Export| {
        all.iter().any(|other| other.kind == export.kind && other.requested_at > export.requested_at)
    };
    let mut shown: Vec<Export> = all
        .iter()
        .filter(|export| export.status != TaskStatus::Failed || !has_newer(export))
        .cloned()
        .collect();
    shown.sort_by(|a, b| (&a.kind, b.requested_at).cmp(&(&b.kind, a.requested_at)));
    Ok(shown)
}
