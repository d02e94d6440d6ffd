//! The codes in production, by the import that inserted them.

pub mod locked;
pub mod references;

use super::connection::Session;
use super::copy::Lines;
use super::error::{DbError, DbResult};
use super::pool::Database;
use super::staging::export::{copy_lines, defuse, select_fields};
use super::statement::{Composed, statements};
use super::transaction::Transaction;
use crate::domain::ids::{JobId, MerchantId};
use references::Production;
use std::time::Duration;

statements! {
    "codes":
    BASE = "base";
    COUNT_LEFT = "count_left";
    DELETE_PART = "delete_part";
    FOREIGN_KEYS = "foreign_keys";
    HOLD_KEYS = "hold_keys";
    PARTS = "parts";
    STOP_VACUUM = "stop_vacuum";
    VERIFY = "verify";
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
    let table: String = BASE.one(&connection, &[]).await?.get("name");
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

/// A part of the heap, by addresses of rows as PostgreSQL writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    from: String,
    /// The first address behind it.
    to: String,
}

impl Range {
    fn of(part: i64, part_blocks: i64) -> Self {
        Self { from: format!("({},0)", part * part_blocks), to: format!("({},0)", (part + 1) * part_blocks) }
    }
}

/// Where some of a job's codes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part of the heap.
    pub range: Range,
    /// The job's codes in it.
    pub codes: i64,
    /// Those of them that were claimed.
    pub claimed: i64,
}

/// Finds where a job's codes lie in the heap, in parts of so many blocks.
pub async fn find_parts(
    on: &dyn Session,
    production: &Production,
    job: JobId,
    part_blocks: i64,
) -> DbResult<Vec<Part>> {
    let rows = PARTS.all(on, &[&job, &part_blocks, &production.table]).await?;
    Ok(rows
        .iter()
        .map(|row| Part {
            range: Range::of(row.get("part"), part_blocks),
            codes: row.get("codes"),
            claimed: row.get("claimed"),
        })
        .collect())
}

/// Deletes a job's codes in one part of the heap, with `all` also those that were claimed; returns how many, none while
/// another transaction waits for this one. A TID range scan, whatever the job's codes are mixed with. It waits for locks.
pub async fn delete_part(
    on: &dyn Session,
    job: JobId,
    merchant: MerchantId,
    within: &Range,
    all: bool,
) -> DbResult<i64> {
    let rows = DELETE_PART.run_many(on, &[&job, &merchant, &within.from, &within.to, &all]).await?;
    to_count(DELETE_PART.name, rows)
}

fn to_count(statement: &'static str, rows: u64) -> DbResult<i64> {
    i64::try_from(rows).map_err(|_| DbError::defect(statement, format!("{rows} rows are too many")))
}

/// How many codes a job has, and how many of them are due to be deleted: those that were not claimed, or all.
pub async fn count_left(
    on: &dyn Session,
    job: JobId,
    merchant: MerchantId,
    all: bool,
) -> DbResult<(i64, i64)> {
    let row = COUNT_LEFT.one(on, &[&job, &merchant, &all]).await?;
    Ok((row.get("codes"), row.get("due")))
}

/// What a rollback would keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preview {
    /// All codes of the job.
    pub codes: i64,
    /// Those that were claimed.
    pub claimed: i64,
    /// Those that a row of another table references.
    pub referenced: i64,
    /// Those of both kinds.
    pub both: i64,
}

/// Counts what a rollback would keep, as long as the transaction lets it.
pub async fn preview(
    tx: &Transaction<'_>,
    production: &Production,
    job: JobId,
    merchant: MerchantId,
) -> DbResult<Preview> {
    let (codes, row) = production.codes();
    let statement = Composed {
        name: "codes.preview",
        // OFFSET 0: references are looked up once for each code.
        sql: format!(
            "-- codes.preview
SELECT count(*) AS codes, count(*) FILTER (WHERE claimed) AS claimed, count(*) FILTER (WHERE referenced) AS referenced,
       count(*) FILTER (WHERE claimed AND referenced) AS both_kinds
  FROM (SELECT {row}.claimed, {} AS referenced FROM {codes}
         WHERE {row}.import_job_id = $1 AND {row}.merchant_id = $2 OFFSET 0) AS found",
            production.reference(),
        ),
    };
    let row = statement.one(tx, &[&job, &merchant]).await?;
    Ok(Preview {
        codes: row.get("codes"),
        claimed: row.get("claimed"),
        referenced: row.get("referenced"),
        both: row.get("both_kinds"),
    })
}

/// The codes of a job that are in production, who claimed them, and why they stay: after a rollback, those that it kept. Lines of
/// CSV without a header.
pub async fn copy_of_job<'a>(
    tx: &'a Transaction<'_>,
    production: &Production,
    job: JobId,
    merchant: MerchantId,
) -> DbResult<Lines<'a>> {
    let (codes, row) = production.codes();
    let sql = format!(
        "-- codes.copy_of_job
COPY (SELECT {}, {}, {} FROM {codes}
       WHERE {row}.import_job_id = '{job}' AND {row}.merchant_id = '{merchant}' ORDER BY {row}.code COLLATE \"C\")
  TO STDOUT WITH (FORMAT csv)",
        select_fields(row, merchant),
        defuse(&format!("{row}.claimed_customer_id")),
        production.reasons(row),
    );
    copy_lines(tx, "codes.copy_of_job", &sql).await
}
