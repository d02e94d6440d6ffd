//! The codes of a chunk and of production, read for a function that compares them itself, and the marks that it sends back.

use super::mark::slice_of_production;
use super::tables::{CODE, EXISTING, INTERNAL, bucket_table, create_side, side_table};
use crate::db::binary::BinaryBuffer;
use crate::db::bind::Bind;
use crate::db::connection::Session;
use crate::db::copy::{Tuples, copy_in};
use crate::db::error::{DbError, DbResult};
use crate::db::statement::Composed;
use crate::db::transaction::Transaction;
use crate::domain::buckets::{Chunk, Range};
use crate::domain::ids::{JobId, MerchantId};
use serde_json::Value;

pub use crate::db::binary::Place;

/// How many codes the planner expects a merchant to have in production within a range.
pub async fn estimate_production(on: &dyn Session, merchant: MerchantId, range: &Range) -> DbResult<i64> {
    let mut binds: Vec<&dyn Bind> = vec![&merchant];
    let production = slice_of_production(range, &mut binds);
    let statement = Composed {
        name: "staging.estimate",
        sql: format!("-- staging.estimate\nEXPLAIN (FORMAT JSON) {production}"),
    };
    let plan: Value = statement.one(on, &binds).await?.get(0);
    let rows = plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_i64);
    rows.ok_or_else(|| DbError::defect("staging.estimate", "the plan has no number of rows"))
}

/// ` AND column >= lower AND column < upper` for the bounds that a chunk has. COPY takes no parameters, and a code is no text to put
/// into a statement: the bounds are read where the plan has them.
fn planned_bounds(job: JobId, chunk: &Chunk, column: &str) -> String {
    let bound = |name: &str| {
        format!(
            "(SELECT {name} FROM onceload.import_chunks WHERE job_id = '{job}' AND chunk_no = {})",
            chunk.number
        )
    };
    let Range { lower, upper } = &chunk.range;
    let lower = lower.as_ref().map(|_| format!(" AND {column} >= {}", bound("lower_bound")));
    let upper = upper.as_ref().map(|_| format!(" AND {column} < {}", bound("upper_bound")));
    lower.into_iter().chain(upper).collect()
}

/// The rows of a chunk, in any order.
pub struct StagedCodes<'a>(Tuples<'a>);

/// One row of a chunk.
#[derive(Debug, Clone, Copy)]
pub struct StagedCode<'a> {
    /// Its place in the job.
    pub row_number: i64,
    /// Its place in the bucket's table.
    pub place: Place,
    /// Its code.
    pub code: &'a [u8],
}

/// Begins to read the rows of a chunk.
pub async fn read_staged<'a>(
    tx: &'a Transaction<'_>,
    job: JobId,
    chunk: &Chunk,
) -> DbResult<StagedCodes<'a>> {
    let bounds = if chunk.whole { String::new() } else { planned_bounds(job, chunk, "code") };
    let sql = format!(
        "-- staging.read
COPY (SELECT row_number, ctid, code FROM {} WHERE true{bounds}) TO STDOUT WITH (FORMAT binary)",
        bucket_table(job, chunk.bucket)
    );
    Tuples::read(tx, "staging.read", &sql).await.map(StagedCodes)
}

impl StagedCodes<'_> {
    /// The next row.
    pub async fn next(&mut self) -> DbResult<Option<StagedCode<'_>>> {
        let Some(mut values) = self.0.next().await? else { return Ok(None) };
        match (values.take_i64(), values.take_tid(), values.take()) {
            (Some(row_number), Some(place), Some(code)) => Ok(Some(StagedCode { row_number, place, code })),
            _ => Err(DbError::defect("staging.read", "a row lacks a value")),
        }
    }
}

/// The merchant's codes in production within the range of a chunk, in ascending order of their bytes.
pub struct ProductionCodes<'a>(Tuples<'a>);

/// Begins to read them.
pub async fn read_production<'a>(
    tx: &'a Transaction<'_>,
    job: JobId,
    merchant: MerchantId,
    chunk: &Chunk,
) -> DbResult<ProductionCodes<'a>> {
    let bounds = planned_bounds(job, chunk, CODE);
    let sql = format!(
        "-- staging.read_production
COPY (SELECT {CODE} FROM onceload.codes WHERE merchant_id = '{merchant}'{bounds} ORDER BY {CODE}) TO STDOUT WITH (FORMAT binary)"
    );
    Tuples::read(tx, "staging.read_production", &sql).await.map(ProductionCodes)
}

impl ProductionCodes<'_> {
    /// The next code.
    pub async fn next(&mut self) -> DbResult<Option<&[u8]>> {
        let Some(mut values) = self.0.next().await? else { return Ok(None) };
        let code = values.take();
        code.map(Some).ok_or_else(|| DbError::defect("staging.read_production", "a code is NULL"))
    }
}

/// The marks of a chunk, on their way to its side table.
pub type Marks = BinaryBuffer<Place>;

impl Marks {
    /// Marks a row as a later occurrence in the files, or as one whose code is in production.
    pub fn push(&mut self, row_number: i64, place: Place, internal: bool, existing: bool) {
        self.begin_row(3);
        self.put_i64(Some(row_number));
        self.put_tid(place);
        self.put_i16(if internal { INTERNAL } else { 0 } | if existing { EXISTING } else { 0 });
    }
}

/// Makes the chunk's side table anew and writes its marks.
pub async fn write_marks(tx: &Transaction<'_>, job: JobId, chunk: &Chunk, mut marks: Marks) -> DbResult<()> {
    create_side(tx, job, chunk.number).await?;
    let side = side_table(job, chunk.number);
    let sql = format!(
        "-- staging.write_marks\nCOPY {side} (row_number, place, flags) FROM STDIN WITH (FORMAT binary)"
    );
    let rows = marks.rows();
    let written = copy_in(tx, "staging.write_marks", &sql, marks.take()).await?;
    if written == rows {
        return Ok(());
    }
    Err(DbError::defect("staging.write_marks", format!("{written} of {rows} marks were written")))
}
