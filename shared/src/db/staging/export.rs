//! Reading a staging workspace, and what is kept in tables of all jobs, as streams of COPY.

use super::{EXISTING, INTERNAL, LATE, bucket_table, side_table};
use crate::db::error::{DbError, DbResult};
use crate::db::transaction::Transaction;
use crate::domain::ids::JobId;
use tokio_postgres::CopyOutStream;

/// The columns of a staged row, as the files had them.
pub const COLUMNS: [&str; 10] = [
    "code",
    "serial",
    "sku",
    "points",
    "sku_name",
    "batch_code",
    "price",
    "window_start",
    "window_end",
    "merchant_id",
];

/// Dates as any reader and our own loader understand them, whatever the server's or the role's settings are.
const SETTINGS: &str = "-- export.settings\nSET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'";

/// A text that a spreadsheet would take for a formula gets a leading apostrophe (OWASP, "CSV Injection"): it begins
/// with `=`, `+`, `-`, `@`, tab or carriage return. Numbers are numbers.
fn defused(column: &str) -> String {
    format!("CASE WHEN ascii({column}) IN (9, 13, 43, 45, 61, 64) THEN '''' || {column} ELSE {column} END")
}

fn columns(row: &str, merchant: uuid::Uuid) -> String {
    let column = |name: &str| match name {
        "points" | "price" | "window_start" | "window_end" => format!("{row}.{name}"),
        "merchant_id" => format!("'{merchant}'"),
        text => defused(&format!("{row}.{text}")),
    };
    COLUMNS.map(column).join(", ")
}

/// The duplicates of some chunks; there is at least one.
fn sides(job: JobId, chunks: &[i32]) -> String {
    let tables: Vec<String> =
        chunks.iter().map(|chunk| format!("SELECT * FROM {}", side_table(job, *chunk))).collect();
    tables.join(" UNION ALL ")
}

/// A bucket of a job's staging, and the chunks that it was cut into.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    pub job: JobId,
    pub merchant: uuid::Uuid,
    pub number: usize,
    pub chunks: &'a [i32],
}

/// What was not inserted, with the reason, in order of the rows' places in the files. Lines of CSV without a header.
pub async fn duplicates(tx: &Transaction<'_>, of: Bucket<'_>) -> DbResult<CopyOutStream> {
    let sql = format!(
        "-- export.duplicates
COPY (SELECT {}, (d.flags & {INTERNAL} > 0)::text, (d.flags & {EXISTING} > 0)::text, {}
        FROM ({}) d JOIN {} b ON b.row_number = d.row_number ORDER BY b.row_number) TO STDOUT WITH (FORMAT csv)",
        columns("b", of.merchant),
        kind_of("d.flags"),
        sides(of.job, of.chunks),
        bucket_table(of.job, of.number),
    );
    copy_out(tx, &sql, "export.duplicates").await
}

/// Every row with its status, in the same order.
pub async fn report(tx: &Transaction<'_>, of: Bucket<'_>) -> DbResult<CopyOutStream> {
    let sql = format!(
        "-- export.report
COPY (SELECT {}, CASE WHEN d.flags IS NULL THEN 'CLEAN' ELSE {} END
        FROM {} b LEFT JOIN ({}) d ON d.row_number = b.row_number ORDER BY b.row_number) TO STDOUT WITH (FORMAT csv)",
        columns("b", of.merchant),
        kind_of("d.flags"),
        bucket_table(of.job, of.number),
        sides(of.job, of.chunks),
    );
    copy_out(tx, &sql, "export.report").await
}

fn kind_of(flags: &str) -> String {
    const BOTH: i16 = INTERNAL | EXISTING;
    format!(
        "CASE {flags} WHEN {INTERNAL} THEN 'INTERNAL_DUPLICATE' WHEN {EXISTING} THEN 'DATABASE_DUPLICATE' \
         WHEN {BOTH} THEN 'BOTH_DUPLICATE' WHEN {LATE} THEN 'LATE_DUPLICATE' END"
    )
}

/// The codes of a job that are in production: after a rollback, those that it kept.
pub async fn codes(tx: &Transaction<'_>, job: JobId, merchant: uuid::Uuid) -> DbResult<CopyOutStream> {
    let sql = format!(
        "-- export.codes
COPY (SELECT {}, {} FROM codes c WHERE c.import_job_id = '{job}' AND c.merchant_id = '{merchant}' ORDER BY c.code)
  TO STDOUT WITH (FORMAT csv)",
        columns("c", merchant),
        defused("c.claimed_customer_id"),
    );
    copy_out(tx, &sql, "export.codes").await
}

/// A job's rejects in PostgreSQL's binary COPY format, file by file: file, record number, line, reason, detail, raw.
pub async fn rejects(tx: &Transaction<'_>, job: JobId) -> DbResult<CopyOutStream> {
    let sql = format!(
        "-- export.rejects
COPY (SELECT file, record_number, line_number, reason, detail, raw FROM import_rejects
       WHERE job_id = '{job}' ORDER BY file, record_number) TO STDOUT WITH (FORMAT binary)"
    );
    copy_out(tx, &sql, "export.rejects").await
}

async fn copy_out(tx: &Transaction<'_>, sql: &str, name: &'static str) -> DbResult<CopyOutStream> {
    tx.batch_execute(SETTINGS).await.map_err(|e| DbError::new("export.settings", e))?;
    tx.copy_out(sql).await.map_err(|e| DbError::new(name, e))
}
