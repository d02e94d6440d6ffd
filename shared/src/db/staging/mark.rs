//! Marking the duplicates of a chunk, looking at it again, and cutting a bucket that is too big.

use super::tables::{CODE, EXISTING, INTERNAL, bucket_table, create_side, side_table};
use crate::db::bind::Bind;
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::statement::{Binds, Composed};
use crate::db::transaction::Transaction;
use crate::domain::buckets::{Chunk, Range, split_points};
use crate::domain::ids::{JobId, MerchantId};
use std::fmt::Write;

/// ` AND column >= $n AND column < $m` for the bounds that a range has; their values are appended to `binds`.
pub(super) fn bounds<'a>(range: &'a Range, column: &str, binds: &mut Vec<&'a dyn Bind>) -> String {
    let mut sql = String::new();
    for (bound, operator) in [(&range.lower, ">="), (&range.upper, "<")] {
        if let Some(bound) = bound {
            binds.push(bound);
            let _ = write!(sql, " AND {column} {operator} ${}", binds.len());
        }
    }
    sql
}

/// The same for the rows of a chunk in its bucket: none where the chunk is the whole bucket.
pub(super) fn staged_bounds<'a>(chunk: &'a Chunk, binds: &mut Vec<&'a dyn Bind>) -> String {
    if chunk.whole { String::new() } else { bounds(&chunk.range, "b.code", binds) }
}

/// A query of the merchant's ($1) codes in production within a range: one range of one index, whatever else is there. An
/// application's table may have another collation, so each comparison names ours.
pub(super) fn slice_of_production<'a>(range: &'a Range, binds: &mut Vec<&'a dyn Bind>) -> String {
    let bounds = bounds(range, CODE, binds);
    format!("SELECT {CODE} AS code FROM onceload.codes WHERE merchant_id = $1{bounds}")
}

/// What marking one chunk found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marked {
    /// Rows of the chunk.
    pub rows: i64,
    /// Second and later occurrences in the files.
    pub internal: i64,
    /// Codes that are in production.
    pub existing: i64,
    /// Both.
    pub both: i64,
    /// Neither.
    pub clean: i64,
    /// xor of `hashtextextended(code, 0)` of the clean codes: free of order.
    pub clean_checksum: i64,
    /// Codes of production in the range of the chunk, where they were all read.
    pub production: Option<i64>,
}

/// Marks a chunk in the database: makes its side table anew and writes its duplicates.
pub async fn mark(tx: &Transaction<'_>, job: JobId, merchant: MerchantId, chunk: &Chunk) -> DbResult<Marked> {
    create_side(tx, job, chunk.number).await?;
    let (table, side) = (bucket_table(job, chunk.bucket), side_table(job, chunk.number));
    let mut binds: Vec<&dyn Bind> = vec![&merchant];
    let staged_bounds = staged_bounds(chunk, &mut binds);
    let production = slice_of_production(&chunk.range, &mut binds);
    let flagged = format!(
        "seen AS (
    SELECT b.row_number, b.ctid AS place, b.code,
           CASE WHEN row_number() OVER (PARTITION BY b.code ORDER BY b.row_number) > 1 THEN {INTERNAL} ELSE 0 END AS internal
      FROM {table} b WHERE true{staged_bounds}
), flagged AS MATERIALIZED (
    SELECT s.row_number, s.place, (s.internal | CASE WHEN c.code IS NULL THEN 0 ELSE {EXISTING} END)::smallint AS flags,
           hashtextextended(s.code, 0) AS hash
      FROM seen s LEFT JOIN ({production}) c ON c.code = s.code
)"
    );
    write_marks(tx, "staging.mark", &flagged, &binds, &side).await
}

/// Writes the marks of `flagged`, a common table expression of row_number, place, flags and hash, into the chunk's side table, and adds
/// them up.
pub(super) async fn write_marks(
    tx: &Transaction<'_>,
    name: &'static str,
    flagged: &str,
    binds: &Binds<'_>,
    side: &str,
) -> DbResult<Marked> {
    let statement = Composed {
        name,
        sql: format!(
            "-- {name}
WITH {flagged}, marked AS (
    INSERT INTO {side} (row_number, place, flags) SELECT row_number, place, flags FROM flagged WHERE flags > 0
)
SELECT count(*) AS rows, count(*) FILTER (WHERE flags & {INTERNAL} > 0) AS internal,
       count(*) FILTER (WHERE flags & {EXISTING} > 0) AS existing,
       count(*) FILTER (WHERE flags = {INTERNAL} | {EXISTING}) AS both, count(*) FILTER (WHERE flags = 0) AS clean,
       coalesce(bit_xor(hash) FILTER (WHERE flags = 0), 0) AS clean_checksum
  FROM flagged"
        ),
    };
    let row = statement.one(tx, binds).await?;
    // The export's joins depend on it.
    tx.run("staging.analyze", &format!("-- staging.analyze\nANALYZE {side}")).await?;
    Ok(Marked {
        rows: row.get("rows"),
        internal: row.get("internal"),
        existing: row.get("existing"),
        both: row.get("both"),
        clean: row.get("clean"),
        clean_checksum: row.get("clean_checksum"),
        production: None,
    })
}

/// How many rows a chunk has.
pub async fn count_rows(on: &dyn Session, job: JobId, chunk: &Chunk) -> DbResult<i64> {
    let mut binds = Vec::new();
    let bounds = staged_bounds(chunk, &mut binds);
    let statement = Composed {
        name: "staging.count_rows",
        sql: format!(
            "-- staging.count_rows\nSELECT count(*) AS rows FROM {} b WHERE true{bounds}",
            bucket_table(job, chunk.bucket)
        ),
    };
    Ok(statement.one(on, &binds).await?.get("rows"))
}

/// How many codes the merchant has in production within the range of a chunk.
pub async fn count_production(on: &dyn Session, merchant: MerchantId, chunk: &Chunk) -> DbResult<i64> {
    let mut binds: Vec<&dyn Bind> = vec![&merchant];
    let production = slice_of_production(&chunk.range, &mut binds);
    let statement = Composed {
        name: "staging.count_production",
        sql: format!("-- staging.count_production\nSELECT count(*) AS codes FROM ({production}) c"),
    };
    Ok(statement.one(on, &binds).await?.get("codes"))
}

/// How many rows of a chunk have a code that is in production.
pub async fn count_existing(
    on: &dyn Session,
    job: JobId,
    merchant: MerchantId,
    chunk: &Chunk,
) -> DbResult<i64> {
    let mut binds: Vec<&dyn Bind> = vec![&merchant];
    let bounds = staged_bounds(chunk, &mut binds);
    let production = slice_of_production(&chunk.range, &mut binds);
    let statement = Composed {
        name: "staging.count_existing",
        sql: format!(
            "-- staging.count_existing
SELECT count(*) AS existing FROM {} b JOIN ({production}) c ON c.code = b.code WHERE true{bounds}",
            bucket_table(job, chunk.bucket)
        ),
    };
    Ok(statement.one(on, &binds).await?.get("existing"))
}

/// Points that cut a bucket into at most `parts`, from a sample of its rows, and how many rows each part holds. `range`:
/// that of the bucket.
pub async fn cut(
    on: &dyn Session,
    job: JobId,
    bucket: usize,
    range: &Range,
    parts: usize,
) -> DbResult<(Vec<String>, Vec<i64>)> {
    let table = bucket_table(job, bucket);
    let sample = Composed {
        name: "staging.sample",
        sql: format!("-- staging.sample\nSELECT code FROM {table} TABLESAMPLE SYSTEM (2) REPEATABLE (1)"),
    };
    let sample: Vec<String> = sample.all(on, &[]).await?.iter().map(|row| row.get("code")).collect();
    let points = range.inside(split_points(sample, parts));
    let count = Composed {
        name: "staging.count_parts",
        sql: format!(
            "-- staging.count_parts
SELECT width_bucket(code, $1::text[] COLLATE \"C\") AS part, count(*) AS rows FROM {table} GROUP BY 1"
        ),
    };
    let mut rows = vec![0; points.len() + 1];
    for row in count.all(on, &[&points]).await? {
        if let Some(slot) = usize::try_from(row.get::<_, i32>("part")).ok().and_then(|i| rows.get_mut(i)) {
            *slot = row.get("rows");
        }
    }
    Ok((points, rows))
}
