//! The codes in production, by the import that inserted them.

use super::connection::Session;
use super::copy::Lines;
use super::error::{DbError, DbResult};
use super::pool::Database;
use super::staging::export::{copy_lines, defuse, select_fields};
use super::statement::{Composed, statements};
use super::transaction::Transaction;
use crate::domain::field::Field;
use crate::domain::ids::{JobId, MerchantId};
use std::time::Duration;

statements! {
    "codes":
    COLUMNS = "columns";
    COUNT_OF_JOB = "count_of_job";
    DELETE_PART = "delete_part";
    DELETE_REST = "delete_rest";
    PARTS = "parts";
    STOP_VACUUM = "stop_vacuum";
    TABLE = "table";
    VERIFY = "verify";
}

/// A column of `onceload.codes` that an insert can fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What takes the place of NULL, as SQL.
    pub default: Option<String>,
}

/// The columns that an insert can fill: all of the baseline's, or those that an application's own table has.
pub async fn list_columns(on: &dyn Session) -> DbResult<Vec<Column>> {
    let rows = COLUMNS.all(on, &[]).await?;
    Ok(rows.iter().map(|row| Column { name: row.get("name"), default: row.get("default") }).collect())
}

/// The fields of the files that production has columns for.
pub async fn list_fields(on: &dyn Session) -> DbResult<Vec<Field>> {
    let columns = list_columns(on).await?;
    let is_stored = |field: &Field| columns.iter().any(|column| column.name == field.as_str());
    Ok(Field::ALL.into_iter().filter(is_stored).collect())
}

/// Counts a job's codes, and xors their hashes.
pub async fn sum_up(on: &dyn Session, job: JobId, merchant: MerchantId) -> DbResult<(i64, i64)> {
    let row = VERIFY.one(on, &[&job, &merchant]).await?;
    Ok((row.get("codes"), row.get("checksum")))
}

/// The longest that a VACUUM works: autovacuum does the rest.
const LONGEST_VACUUM: Duration = Duration::from_secs(300);
/// The server may begin a little later than we wait.
const LATER: Duration = Duration::from_secs(1);

/// `VACUUM (ANALYZE)`, so that the next marking reads the index alone. It waits for no other VACUUM, and is stopped when the time
/// is up. Call it outside of any transaction, and while the import holds no lease.
pub async fn vacuum(db: &Database, time_left: Duration) -> DbResult<()> {
    let longest = time_left.min(LONGEST_VACUUM);
    let connection = db.connection().await?;
    // It works on tables only, and codes may be a view.
    let table: String = TABLE.one(&connection, &[]).await?.get("name");
    let statement = Composed {
        name: "codes.vacuum",
        // Passes over a table that another VACUUM works on.
        sql: format!("-- codes.vacuum\nVACUUM (ANALYZE, SKIP_LOCKED) {table}"),
    };
    let done = statement.run_many(&connection.with_patience(longest), &[]).await;
    drop(connection);
    if done.is_err() {
        let seconds = longest.saturating_sub(LATER).as_secs_f64();
        let stopped = STOP_VACUUM.all(&db.connection().await?, &[&seconds]).await?;
        tracing::warn!(stopped = stopped.len(), "VACUUM takes too long");
    }
    done.map(drop)
}

/// Where some of a job's codes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The part of the heap, from 0.
    pub number: i64,
    /// The job's codes in it.
    pub codes: i64,
    /// Those of them that were claimed.
    pub claimed: i64,
}

/// Finds where a job's codes lie in the heap, in parts of so many blocks.
pub async fn find_parts(on: &dyn Session, job: JobId, part_blocks: i64) -> DbResult<Vec<Part>> {
    let rows = PARTS.all(on, &[&job, &part_blocks]).await?;
    Ok(rows
        .iter()
        .map(|row| Part { number: row.get("part"), codes: row.get("codes"), claimed: row.get("claimed") })
        .collect())
}

/// Deletes a job's codes in one part of the heap, with `all` also those that were claimed; returns how many. A TID range
/// scan, whatever the job's codes are mixed with.
pub async fn delete_part(
    on: &dyn Session,
    job: JobId,
    merchant: MerchantId,
    part: i64,
    part_blocks: i64,
    all: bool,
) -> DbResult<i64> {
    let (from, to) = (format!("({},0)", part * part_blocks), format!("({},0)", (part + 1) * part_blocks));
    to_count(DELETE_PART.name, DELETE_PART.run_many(on, &[&job, &merchant, &from, &to, &all]).await?)
}

/// Deletes the job's codes that were moved while the parts were deleted; returns how many.
pub async fn delete_rest(on: &dyn Session, job: JobId, merchant: MerchantId, all: bool) -> DbResult<i64> {
    to_count(DELETE_REST.name, DELETE_REST.run_many(on, &[&job, &merchant, &all]).await?)
}

fn to_count(statement: &'static str, rows: u64) -> DbResult<i64> {
    i64::try_from(rows).map_err(|_| DbError::defect(statement, format!("{rows} rows are too many")))
}

/// Counts a job's codes.
pub async fn count_of_job(on: &dyn Session, job: JobId, merchant: MerchantId) -> DbResult<i64> {
    Ok(COUNT_OF_JOB.one(on, &[&job, &merchant]).await?.get("codes"))
}

/// The codes of a job that are in production, and who claimed them: after a rollback, those that it kept. Lines of CSV
/// without a header.
pub async fn copy_of_job<'a>(
    tx: &'a Transaction<'_>,
    job: JobId,
    merchant: MerchantId,
) -> DbResult<Lines<'a>> {
    let sql = format!(
        "-- codes.copy_of_job
COPY (SELECT {}, {} FROM onceload.codes c WHERE c.import_job_id = '{job}' AND c.merchant_id = '{merchant}' ORDER BY c.code)
  TO STDOUT WITH (FORMAT csv)",
        select_fields("c", merchant),
        defuse("c.claimed_customer_id"),
    );
    copy_lines(tx, "codes.copy_of_job", &sql).await
}
