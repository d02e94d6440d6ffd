//! The marks of staging that was lost, and is made again, after the codes of its import were inserted.

use super::mark::{Marked, slice_of_production, staged_bounds, write_marks};
use super::tables::{EXISTING, INTERNAL, bucket_table, create_side, side_table};
use crate::db::bind::Bind;
use crate::db::error::DbResult;
use crate::db::transaction::Transaction;
use crate::domain::buckets::Chunk;
use crate::domain::ids::{JobId, MerchantId};

/// Makes the chunk's side table anew, as it was marked before the insert: a first occurrence is clean if this import inserted its code,
/// and the codes that it did not insert were in production. The counts and the checksum tell whether that is still so.
pub async fn mark_inserted(
    tx: &Transaction<'_>,
    job: JobId,
    merchant: MerchantId,
    chunk: &Chunk,
) -> DbResult<Marked> {
    create_side(tx, job, chunk.number).await?;
    let (table, side) = (bucket_table(job, chunk.bucket), side_table(job, chunk.number));
    let mut binds: Vec<&dyn Bind> = vec![&merchant, &job];
    let staged_bounds = staged_bounds(chunk, &mut binds);
    let production = slice_of_production(&chunk.range, &mut binds);
    let flagged = format!(
        "flagged AS MATERIALIZED (
    SELECT b.row_number, b.ctid AS place, hashtextextended(b.code, 0) AS hash,
           (CASE WHEN row_number() OVER (PARTITION BY b.code ORDER BY b.row_number) > 1 THEN {INTERNAL} ELSE 0 END
            | CASE WHEN c.code IS NULL THEN {EXISTING} ELSE 0 END)::smallint AS flags
      FROM {table} b
      LEFT JOIN ({production} AND import_job_id = $2) c ON c.code = b.code
     WHERE true{staged_bounds}
)"
    );
    write_marks(tx, "staging.mark_inserted", &flagged, &binds, &side).await
}
