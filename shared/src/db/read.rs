//! What GET /imports shows of a job.

use super::error::DbResult;
use super::rows::Param;
use super::sql;
use crate::domain::ids::{JobId, MerchantId};
use crate::domain::job::Status;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// Which jobs. Only those of `merchants` are ever seen.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub merchants: Vec<MerchantId>,
    pub job: Option<JobId>,
    pub status: Option<Status>,
    /// The first instant of a month, UTC.
    pub month: Option<DateTime<Utc>>,
    pub created_by: Option<Uuid>,
    pub after: Option<Position>,
    pub limit: i64,
}

/// The last job of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub created_at: DateTime<Utc>,
    pub id: Uuid,
}

/// One page, newest first, and where the next one begins.
pub async fn jobs(client: &Client, filter: &Filter) -> DbResult<(Vec<Value>, Option<Position>)> {
    let merchants: Vec<Uuid> = filter.merchants.iter().map(|merchant| merchant.0).collect();
    let limit = filter.limit + 1;
    let status = filter.status.map(Status::as_str);
    let job = filter.job.map(|job| job.0);
    let after_time = filter.after.map(|position| position.created_at);
    let after_id = filter.after.map(|position| position.id);
    let params: &[Param<'_>] = &[
        (&merchants, Type::UUID_ARRAY),
        (&job, Type::UUID),
        (&status, Type::TEXT),
        (&filter.month, Type::TIMESTAMPTZ),
        (&filter.created_by, Type::UUID),
        (&after_time, Type::TIMESTAMPTZ),
        (&after_id, Type::UUID),
        (&limit, Type::INT8),
    ];
    let rows = sql::READ_JOBS.all(client, params).await?;
    let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let next = (rows.len() > page)
        .then(|| rows.get(page - 1))
        .flatten()
        .map(|row| Position { created_at: row.get("created_at"), id: row.get("id") });
    Ok((rows.iter().take(page).map(job_json).collect(), next))
}

fn job_json(row: &Row) -> Value {
    let id: Uuid = row.get("id");
    let status: &str = row.get("status");
    let count = |column: &str| row.get::<_, Option<i64>>(column);
    let loading = matches!(status, "pending" | "loading");
    // Before the files are summed up at the end of loading, what each has said so far.
    let so_far = |total: &str, loaded: &str| count(total).filter(|_| !loading).or_else(|| count(loaded));
    let (rate, eta) = pace(row);
    let mut counts = json!({
        "records": so_far("records", "records_loaded"),
        "staged": so_far("staged", "staged_loaded"),
        "rejected": so_far("rejected", "rejected_loaded"),
        "skipped": so_far("skipped", "skipped_loaded"),
        "internal_duplicates": count("internal_duplicates"),
        "database_duplicates": count("database_duplicates"),
        "both_duplicates": count("both_duplicates"),
        "clean": count("total_codes_to_insert"),
        "inserted": count("codes_inserted"),
        "late_duplicates": count("late_duplicates"),
        "merchant_total": count("merchant_total"),
    });
    // Only where there was a rollback.
    for (name, column) in [("deleted", "codes_deleted"), ("kept", "codes_kept")] {
        if let Some(count) = count(column) {
            counts[name] = count.into();
        }
    }
    json!({
        "job_id": id,
        "merchant_id": row.get::<_, Uuid>("merchant_id"),
        "status": status,
        "phase": row.get::<_, &str>("phase"),
        "attempt": row.get::<_, i32>("attempt"),
        "created_at": row.get::<_, DateTime<Utc>>("created_at"),
        "created_by": row.get::<_, Option<Uuid>>("created_by"),
        "completed_at": row.get::<_, Option<DateTime<Utc>>>("completed_at"),
        "rolled_back_at": row.get::<_, Option<DateTime<Utc>>>("rolled_back_at"),
        "source": row.get::<_, Value>("source_info"),
        "files": {
            "total": row.get::<_, i64>("files_total"),
            "loaded": row.get::<_, i64>("files_loaded"),
            "failed": row.get::<_, i64>("files_failed"),
        },
        "bytes": {
            "total": row.get::<_, i64>("bytes_total"),
            "done": row.get::<_, i64>("bytes_loaded") + row.get::<_, i64>("bytes_loading"),
        },
        "chunks": { "total": row.get::<_, i64>("chunks_total"), "done": row.get::<_, i64>("chunks_done") },
        "counts": counts,
        "rate": rate,
        "eta_seconds": eta,
        "blocked": row.get::<_, bool>("blocked"),
        "verification": row.get::<_, Option<Value>>("verification"),
        "error_message": row.get::<_, Option<&str>>("error_message"),
        "validation_errors": row.get::<_, Value>("validation_errors"),
        "links": {
            "self": format!("/imports/{id}"),
            "files": format!("/imports/{id}/files"),
            "exports": format!("/imports/{id}/exports"),
        },
    })
}

/// Rows per second of the step that is under way, and how long it will take at that pace.
#[allow(clippy::cast_precision_loss)]
fn pace(row: &Row) -> (Option<f64>, Option<f64>) {
    let per_second = |done: i64, seconds: Option<f64>| {
        seconds.filter(|s| *s > 0.5 && done > 0).map(|seconds| (done as f64 / seconds * 10.0).round() / 10.0)
    };
    let of = |done: i64, seconds: Option<f64>, all: Option<i64>| {
        let rate = per_second(done, seconds);
        let left = all.unwrap_or_default() - done;
        (rate, rate.map(|rate| (left.max(0) as f64 / rate).ceil()))
    };
    match (row.get("status"), row.get("phase")) {
        ("loading", _) => {
            let load_seconds = row.get("load_seconds");
            let bytes: i64 = row.get::<_, i64>("bytes_loaded") + row.get::<_, i64>("bytes_loading");
            let left = row.get::<_, i64>("bytes_total") - bytes;
            let eta = per_second(bytes, load_seconds).map(|rate| (left.max(0) as f64 / rate).ceil());
            (per_second(row.get("rows_loading"), load_seconds), eta)
        }
        // Once the codes are in, what is left is to verify them.
        ("processing", _) if row.get::<_, Option<i64>>("codes_inserted").is_none() => {
            of(row.get("rows_inserting"), row.get("insert_seconds"), row.get("total_codes_to_insert"))
        }
        ("completed", "rolling_back") => {
            of(row.get("rows_deleting"), row.get("delete_seconds"), row.get("codes_inserted"))
        }
        _ => (None, None),
    }
}
