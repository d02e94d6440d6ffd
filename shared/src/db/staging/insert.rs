//! Inserting the clean rows of a chunk into production.

use super::mark::staged_bounds;
use super::sort::SortRun;
use super::tables::{CODE, LATE, bucket_table, code_columns, side_table, sorted_table};
use crate::db::adoption::Fillable;
use crate::db::bind::Bind;
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::statement::Composed;
use crate::domain::buckets::Chunk;
use crate::domain::ids::{JobId, MerchantId};
use std::fmt::Write;

/// A query of the clean rows of a chunk, neither duplicate nor late, as `b`. The bounds are binds.
pub(super) fn select_clean<'a>(
    job: JobId,
    chunk: &'a Chunk,
    columns: &str,
    binds: &mut Vec<&'a dyn Bind>,
) -> String {
    let condition = staged_bounds(chunk, binds);
    format!(
        "SELECT {columns} FROM {} b LEFT JOIN {} d USING (row_number) WHERE d.row_number IS NULL{condition}",
        bucket_table(job, chunk.bucket),
        side_table(job, chunk.number)
    )
}

/// What an insert fills: its target columns, and what it selects for them from the rows of staging.
struct Filled {
    targets: String,
    values: String,
}

impl Filled {
    /// `columns`: those of `onceload.codes` that can be filled.
    fn of(columns: &[Fillable]) -> Self {
        let staged = code_columns();
        let mut filled =
            Self { targets: "merchant_id, import_job_id".to_owned(), values: "$1, $2".to_owned() };
        for Fillable { name, default } in columns {
            let value = match default {
                _ if name == "source" => "'import'".to_owned(),
                _ if !staged.split(", ").any(|it| it == name) => continue,
                None => name.clone(),
                Some(default) => format!("coalesce({name}, {default})"),
            };
            let _ = write!(filled.targets, ", {name}");
            let _ = write!(filled.values, ", {value}");
        }
        filled
    }
}

/// Inserts the clean rows of a chunk in order of code, and returns how many. `sorted`: the run that has put them in order
/// already. Fails with `unique_violation` when one is in
/// production by now.
pub async fn insert_clean(
    on: &dyn Session,
    job: JobId,
    merchant: MerchantId,
    chunk: &Chunk,
    columns: &[Fillable],
    sorted: Option<SortRun>,
) -> DbResult<u64> {
    let mut binds: Vec<&dyn Bind> = vec![&merchant, &job];
    let Filled { targets, values } = Filled::of(columns);
    // What is the same in every row stays outside of the sort.
    let rows = match sorted {
        Some(run) => sorted_table(job, run, chunk.number),
        None => format!("({} ORDER BY b.code)", select_clean(job, chunk, &code_columns(), &mut binds)),
    };
    let statement = Composed {
        name: "staging.insert",
        sql: format!(
            "-- staging.insert
INSERT INTO onceload.codes ({targets})
SELECT {values} FROM {rows} clean"
        ),
    };
    statement.run_many(on, &binds).await
}

/// What inserting a chunk around codes that appeared since the marking did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertedAround {
    /// Codes that were inserted.
    pub inserted: i64,
    /// Clean codes that were in production by now.
    pub late: i64,
    /// xor of the hashes of the late codes.
    pub late_checksum: i64,
}

/// Inserts the clean rows of a chunk without those whose code is in production by now, and records these as late.
pub async fn insert_around(
    on: &dyn Session,
    job: JobId,
    merchant: MerchantId,
    chunk: &Chunk,
    columns: &[Fillable],
) -> DbResult<InsertedAround> {
    let mut binds: Vec<&dyn Bind> = vec![&merchant, &job];
    let rows = select_clean(job, chunk, "b.*, b.ctid AS place", &mut binds);
    let Filled { targets, values } = Filled::of(columns);
    let side = side_table(job, chunk.number);
    let statement = Composed {
        name: "staging.insert_around",
        sql: format!(
            "-- staging.insert_around
WITH clean AS MATERIALIZED (
    {rows}
), inserted AS (
    INSERT INTO onceload.codes ({targets})
    SELECT {values} FROM clean ORDER BY code
    ON CONFLICT DO NOTHING
    RETURNING {CODE} AS code
), late AS (
    SELECT b.row_number, b.place, b.code FROM clean b WHERE NOT EXISTS (SELECT FROM inserted i WHERE i.code = b.code)
), recorded AS (
    INSERT INTO {side} (row_number, place, flags) SELECT row_number, place, {LATE} FROM late
)
SELECT (SELECT count(*) FROM inserted) AS inserted, count(*) AS late,
       coalesce(bit_xor(hashtextextended(code, 0)), 0) AS late_checksum
  FROM late"
        ),
    };
    let row = statement.one(on, &binds).await?;
    Ok(InsertedAround {
        inserted: row.get("inserted"),
        late: row.get("late"),
        late_checksum: row.get("late_checksum"),
    })
}
