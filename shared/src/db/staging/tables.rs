//! The tables of a staging workspace: their names, columns, making and dropping them.

use super::sort::SortRun;
use crate::db::error::DbResult;
use crate::db::statement::Statement;
use crate::db::transaction::Transaction;
use crate::domain::ids::JobId;
use std::fmt::Write;

/// The columns of a bucket in the order of its definition, with their types: wide ones first, so that none is padded.
const DEFINITIONS: [(&str, &str); 10] = [
    ("row_number", "bigint NOT NULL"),
    ("window_start", "timestamptz"),
    ("window_end", "timestamptz"),
    ("points", "integer"),
    ("code", "text COLLATE \"C\" NOT NULL"),
    ("serial", "text"),
    ("sku", "text"),
    ("sku_name", "text"),
    ("batch_code", "text"),
    ("price", "numeric(12, 2)"),
];

/// The tables of a workspace, by their prefix.
const TABLES: Statement = Statement {
    name: "staging.tables",
    sql: "-- staging.tables
SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'onceload_staging' AND c.relkind = 'r' AND c.relname ~ $1",
};

/// The statements of this file.
pub(in crate::db) const STATEMENTS: &[Statement] = &[TABLES];

/// Flag of a side table's row: a second or later occurrence in the files.
pub(super) const INTERNAL: i16 = 1;
/// Flag of a side table's row: the code was in production when it was marked.
pub(super) const EXISTING: i16 = 2;
/// Flag of a side table's row: the code was in production when it was inserted.
pub(super) const LATE: i16 = 4;

/// A code of production, compared by bytes.
pub(super) const CODE: &str = "code COLLATE \"C\"";

/// The table of a bucket.
pub fn bucket_table(job: JobId, bucket: usize) -> String {
    format!("onceload_staging.b_{}_{bucket:02}", job.0.simple())
}

/// The table of a chunk's duplicates.
pub fn side_table(job: JobId, chunk: i32) -> String {
    format!("onceload_staging.d_{}_{chunk:02}", job.0.simple())
}

/// The table of a chunk's clean rows in order.
pub(super) fn sorted_table(job: JobId, run: SortRun, chunk: i32) -> String {
    format!("onceload_staging.s_{}_{run}_{chunk:02}", job.0.simple())
}

/// What a bucket holds of a code: every column but the row's place.
pub(super) fn code_columns() -> String {
    let names: Vec<&str> =
        DEFINITIONS.iter().map(|(name, _)| *name).filter(|name| *name != "row_number").collect();
    names.join(", ")
}

/// Makes the job's buckets anew, empty.
pub async fn create(tx: &Transaction<'_>, job: JobId, buckets: usize) -> DbResult<()> {
    drop_all(tx, job).await?;
    let columns: Vec<String> =
        DEFINITIONS.iter().map(|(name, definition)| format!("{name} {definition}")).collect();
    let columns = columns.join(", ");
    let mut sql = String::from("-- staging.create\n");
    for bucket in 0..buckets {
        let table = bucket_table(job, bucket);
        // Filled once and dropped as a whole: autovacuum has nothing to do here.
        let _ = write!(sql, "CREATE UNLOGGED TABLE {table} ({columns}) WITH (autovacuum_enabled = off);");
    }
    tx.run("staging.create", &sql).await
}

/// Makes the side table of a chunk anew, empty.
pub(super) async fn create_side(tx: &Transaction<'_>, job: JobId, chunk: i32) -> DbResult<()> {
    let side = side_table(job, chunk);
    let sql = format!(
        "-- staging.create_side\nDROP TABLE IF EXISTS {side}; \
         CREATE UNLOGGED TABLE {side} (row_number bigint NOT NULL, place tid NOT NULL, flags smallint NOT NULL) \
         WITH (autovacuum_enabled = off)"
    );
    tx.run("staging.create_side", &sql).await
}

/// Drops the side tables of all chunks: another plan may have fewer.
pub async fn drop_sides(tx: &Transaction<'_>, job: JobId) -> DbResult<()> {
    drop_matching(tx, &format!("^d_{}_", job.0.simple())).await
}

/// Drops every table of the job's workspace.
pub async fn drop_all(tx: &Transaction<'_>, job: JobId) -> DbResult<()> {
    drop_matching(tx, &format!("^[bds]_{}_", job.0.simple())).await
}

/// Drops the tables whose names match this regular expression.
pub(super) async fn drop_matching(tx: &Transaction<'_>, names: &str) -> DbResult<()> {
    let tables = TABLES.all(tx, &[&names]).await?;
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = tables.iter().map(|row| row.get("name")).collect();
    tx.run("staging.drop", &format!("-- staging.drop\nDROP TABLE IF EXISTS {}", names.join(", "))).await
}
