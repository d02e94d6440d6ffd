//! An import as the API shows it.

use super::statements as sql;
use crate::db::connection::Session;
use crate::db::decode::read_word;
use crate::db::error::DbResult;
use crate::domain::ids::{JobId, MerchantId, UserId};
use crate::domain::phase::Phase;
use crate::domain::status::Status;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

/// One import, without links.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "docs/openapi.yaml describes each member")]
pub struct JobView {
    pub job_id: JobId,
    pub merchant_id: MerchantId,
    pub status: Status,
    pub phase: Phase,
    pub attempt: i32,
    pub created_at: DateTime<Utc>,
    pub created_by: Option<UserId>,
    pub completed_at: Option<DateTime<Utc>>,
    pub rolled_back_at: Option<DateTime<Utc>>,
    pub source: Value,
    pub files: FileTotals,
    pub bytes: Share,
    pub chunks: Share,
    pub counts: Counts,
    pub rate: Option<f64>,
    pub eta_seconds: Option<f64>,
    pub blocked: bool,
    pub insert_estimate_seconds: Option<f64>,
    pub warnings: Value,
    pub rejected_by_reason: Value,
    pub verification: Option<Value>,
    pub error_message: Option<String>,
    pub validation_errors: Value,
}

/// How many files there are, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "docs/openapi.yaml describes each member")]
pub struct FileTotals {
    pub total: i64,
    pub loaded: i64,
    pub failed: i64,
}

/// How much of something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "docs/openapi.yaml describes each member")]
pub struct Share {
    pub total: i64,
    pub done: i64,
}

/// The counts of an import; `None` where nothing was counted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "docs/openapi.yaml describes each member")]
pub struct Counts {
    pub records: Option<i64>,
    pub staged: Option<i64>,
    pub rejected: Option<i64>,
    pub skipped: Option<i64>,
    pub internal_duplicates: Option<i64>,
    pub database_duplicates: Option<i64>,
    pub both_duplicates: Option<i64>,
    pub clean: Option<i64>,
    pub inserted: Option<i64>,
    pub late_duplicates: Option<i64>,
    pub merchant_total: Option<i64>,
    /// After a rollback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<i64>,
    /// After a rollback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<i64>,
}

/// Which imports to show. Only those of `merchants` are ever seen.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The merchants that the caller belongs to.
    pub merchants: Vec<MerchantId>,
    /// One import.
    pub job: Option<JobId>,
    /// Imports in this state.
    pub status: Option<Status>,
    /// Imports of the month that begins at this instant.
    pub month: Option<DateTime<Utc>>,
    /// Imports that this user started.
    pub created_by: Option<Uuid>,
    /// Where the page before ended.
    pub after: Option<Position>,
    /// How many imports a page has.
    pub limit: i64,
    /// As in a list: without what can be long.
    pub brief: bool,
}

/// The last import of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// Its job.
    pub id: Uuid,
}

/// One page of imports, newest first, and whether there are more.
pub async fn list_views(on: &dyn Session, filter: &Filter) -> DbResult<(Vec<JobView>, bool)> {
    let limit = filter.limit + 1;
    let rows = sql::VIEW
        .all(
            on,
            &[
                &filter.merchants,
                &filter.job,
                &filter.status,
                &filter.month,
                &filter.created_by,
                &filter.after.map(|position| position.created_at),
                &filter.after.map(|position| position.id),
                &limit,
                &filter.brief,
            ],
        )
        .await?;
    let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let views = rows.iter().take(page).map(JobView::read).collect::<DbResult<_>>()?;
    Ok((views, rows.len() > page))
}

/// One import of these merchants.
pub async fn find_view(
    on: &dyn Session,
    merchants: &[MerchantId],
    job: JobId,
    brief: bool,
) -> DbResult<Option<JobView>> {
    let filter =
        Filter { merchants: merchants.to_vec(), job: Some(job), limit: 1, brief, ..Filter::default() };
    let (views, _) = list_views(on, &filter).await?;
    Ok(views.into_iter().next())
}

/// What `onceload.sum_up_files` says. Of an import whose files are only frozen, their number and bytes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Sums {
    files_total: i64,
    files_loaded: i64,
    files_failed: i64,
    bytes_total: i64,
    bytes_loaded: i64,
    // None of an import that came with an adoption.
    records: Option<i64>,
    staged: Option<i64>,
    rejected: Option<i64>,
    skipped: Option<i64>,
    warnings: Vec<Value>,
    rejected_by_reason: Map<String, Value>,
}

/// What `onceload.sum_up_progress` says.
#[derive(Default, Deserialize)]
struct Progress {
    rows_loading: i64,
    bytes_loading: i64,
    load_seconds: Option<f64>,
    rows_inserting: i64,
    insert_seconds: Option<f64>,
    rows_deleting: i64,
    delete_seconds: Option<f64>,
}

impl JobView {
    /// Its place in a list.
    pub fn position(&self) -> Position {
        Position { created_at: self.created_at, id: self.job_id.0 }
    }

    fn read(row: &Row) -> DbResult<Self> {
        let status = read_word(row, "status")?;
        let phase = read_word(row, "phase")?;
        let Json(sums): Json<Sums> = row.get("file_totals");
        let progress =
            row.get::<_, Option<Json<Progress>>>("progress").map(|json| json.0).unwrap_or_default();
        let bytes = Share { total: sums.bytes_total, done: sums.bytes_loaded + progress.bytes_loading };
        let pace = Pace::read(row, &progress, status, phase, bytes);
        Ok(Self {
            job_id: JobId(row.get("id")),
            merchant_id: MerchantId(row.get("merchant_id")),
            status,
            phase,
            attempt: row.get("attempt"),
            created_at: row.get("created_at"),
            created_by: row.get::<_, Option<Uuid>>("created_by").map(UserId),
            completed_at: row.get("completed_at"),
            rolled_back_at: row.get("rolled_back_at"),
            source: row.get("source_info"),
            files: FileTotals {
                total: sums.files_total,
                loaded: sums.files_loaded,
                failed: sums.files_failed,
            },
            bytes,
            chunks: Share { total: row.get("chunks_total"), done: row.get("chunks_done") },
            counts: Counts::read(row, status, &sums),
            rate: pace.rate,
            eta_seconds: pace.eta_seconds,
            // Only while it does: once approved or over, it stands in nobody's way.
            blocked: row.get("blocked") && matches!(status, Status::Validating | Status::AwaitingApproval),
            insert_estimate_seconds: row.get("insert_estimate_seconds"),
            warnings: sums.warnings.into(),
            rejected_by_reason: sums.rejected_by_reason.into(),
            verification: row.get("verification"),
            error_message: row.get("error_message"),
            validation_errors: row.get("validation_errors"),
        })
    }
}

impl Counts {
    fn read(row: &Row, status: Status, sums: &Sums) -> Self {
        let count = |column: &str| row.get::<_, Option<i64>>(column);
        let loading = matches!(status, Status::Pending | Status::Loading);
        // Until loading ends and the files are summed up, what each file has counted so far.
        let so_far = |total: &str, loaded: Option<i64>| count(total).filter(|_| !loading).or(loaded);
        Self {
            records: so_far("records", sums.records),
            staged: so_far("staged", sums.staged),
            rejected: so_far("rejected", sums.rejected),
            skipped: so_far("skipped", sums.skipped),
            internal_duplicates: count("internal_duplicates"),
            database_duplicates: count("database_duplicates"),
            both_duplicates: count("both_duplicates"),
            clean: count("total_codes_to_insert"),
            inserted: count("codes_inserted"),
            late_duplicates: count("late_duplicates"),
            merchant_total: count("merchant_total"),
            deleted: count("codes_deleted"),
            kept: count("codes_kept"),
        }
    }
}

/// Rows per second of the step that is under way, and how long it will take at that pace.
#[derive(Default)]
struct Pace {
    rate: Option<f64>,
    eta_seconds: Option<f64>,
}

impl Pace {
    fn read(row: &Row, progress: &Progress, status: Status, phase: Phase, bytes: Share) -> Self {
        match (status, phase) {
            (Status::Loading, _) => {
                let seconds = progress.load_seconds;
                let eta_seconds = Self::of(bytes.done, seconds, bytes.total).eta_seconds;
                let rate = eta_seconds.and_then(|_| rate(progress.rows_loading, seconds));
                Self { rate, eta_seconds }
            }
            // Once the codes are in, what is left is to verify them.
            (Status::Processing, _) if row.get::<_, Option<i64>>("codes_inserted").is_none() => {
                let all: Option<i64> = row.get("total_codes_to_insert");
                Self::of(progress.rows_inserting, progress.insert_seconds, all.unwrap_or_default())
            }
            (Status::Completed, Phase::RollingBack) => {
                let all: Option<i64> = row.get("codes_inserted");
                Self::of(progress.rows_deleting, progress.delete_seconds, all.unwrap_or_default())
            }
            _ => Self::default(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53, where f64 is exact")]
    fn of(done: i64, seconds: Option<f64>, all: i64) -> Self {
        // The first moments of a step say nothing about the rest of it.
        if done < all / 100 {
            return Self::default();
        }
        let rate = rate(done, seconds);
        let left = (all - done).max(0) as f64;
        Self { rate, eta_seconds: rate.map(|rate| (left / rate).ceil()) }
    }
}

/// With one decimal; none in the first half second.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53, where f64 is exact")]
fn rate(done: i64, seconds: Option<f64>) -> Option<f64> {
    let seconds = seconds.filter(|seconds| *seconds > 0.5 && done > 0)?;
    Some((done as f64 / seconds * 10.0).round() / 10.0)
}
