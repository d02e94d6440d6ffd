//! Reading a staging workspace as lines of CSV.

use super::tables::{EXISTING, INTERNAL, LATE, bucket_table, side_table};
use crate::db::connection::Session;
use crate::db::copy::Lines;
use crate::db::error::DbResult;
use crate::db::statement::Composed;
use crate::db::transaction::Transaction;
use crate::domain::field::Field;
use crate::domain::ids::{JobId, MerchantId};

/// Writes dates so that any reader and our own loader understand them, whatever the server's or the role's settings are.
const SETTINGS: &str = "-- export.settings\nSET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'";

/// Begins to read lines of CSV in these settings.
pub(in crate::db) async fn copy_lines<'a>(
    tx: &'a Transaction<'_>,
    operation: &'static str,
    sql: &str,
) -> DbResult<Lines<'a>> {
    tx.run("export.settings", SETTINGS).await?;
    Lines::read(tx, operation, sql).await
}

/// A text that a spreadsheet would take for a formula gets a leading apostrophe (OWASP, "CSV Injection"): it begins
/// with `=`, `+`, `-`, `@`, tab or carriage return.
pub(in crate::db) fn defuse(column: &str) -> String {
    format!("CASE WHEN ascii({column}) IN (9, 13, 43, 45, 61, 64) THEN '''' || {column} ELSE {column} END")
}

/// The fields of a code, as an export writes them. Numbers and dates are no formulas.
pub(in crate::db) fn select_fields(row: &str, merchant: MerchantId) -> String {
    let column = |field: Field| match field {
        Field::Points | Field::Price | Field::WindowStart | Field::WindowEnd => {
            format!("{row}.{}", field.as_str())
        }
        Field::MerchantId => format!("'{merchant}'"),
        Field::Code | Field::Serial | Field::Sku | Field::SkuName | Field::BatchCode => {
            defuse(&format!("{row}.{}", field.as_str()))
        }
    };
    Field::ALL.map(column).join(", ")
}

/// A bucket of a job's staging, and the chunks that it was cut into.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    /// The job.
    pub job: JobId,
    /// Whose codes it imports.
    pub merchant: MerchantId,
    /// The bucket's place, from 0.
    pub number: usize,
    /// The numbers of its chunks; there is at least one.
    pub chunks: &'a [i32],
}

impl Bucket<'_> {
    /// A query of the duplicates of all chunks.
    fn select_duplicates(&self) -> String {
        let tables: Vec<String> = self
            .chunks
            .iter()
            .map(|chunk| format!("SELECT * FROM {}", side_table(self.job, *chunk)))
            .collect();
        tables.join(" UNION ALL ")
    }
}

/// How many rows a bucket has, and how many duplicates its chunks.
pub async fn count(on: &dyn Session, bucket: Bucket<'_>) -> DbResult<(i64, i64)> {
    let statement = Composed {
        name: "staging.count",
        sql: format!(
            "-- staging.count\nSELECT (SELECT count(*) FROM {}) AS rows, (SELECT count(*) FROM ({}) d) AS duplicates",
            bucket_table(bucket.job, bucket.number),
            bucket.select_duplicates(),
        ),
    };
    let row = statement.one(on, &[]).await?;
    Ok((row.get("rows"), row.get("duplicates")))
}

/// What was not inserted, with the reason, in order of the rows' places in the files. Lines of CSV without a header.
pub async fn copy_duplicates<'a>(tx: &'a Transaction<'_>, bucket: Bucket<'_>) -> DbResult<Lines<'a>> {
    // Each row is fetched from where it lies: half the time of a hash of the whole bucket and a sort of what it gives.
    tx.run(
        "export.by_place",
        "-- export.by_place\nSET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
    )
    .await?;
    let sql = format!(
        "-- export.duplicates
COPY (SELECT {}, (d.flags & {INTERNAL} > 0)::text, (d.flags & {EXISTING} > 0)::text, {}
        FROM (SELECT * FROM ({}) d ORDER BY row_number) d JOIN {} b ON b.ctid = d.place AND b.row_number = d.row_number
       ORDER BY d.row_number) TO STDOUT WITH (FORMAT csv)",
        select_fields("b", bucket.merchant),
        name_kind("d.flags"),
        bucket.select_duplicates(),
        bucket_table(bucket.job, bucket.number),
    );
    copy_lines(tx, "export.duplicates", &sql).await
}

/// Every row with its status, in the same order.
pub async fn copy_report<'a>(tx: &'a Transaction<'_>, bucket: Bucket<'_>) -> DbResult<Lines<'a>> {
    let sql = format!(
        "-- export.report
COPY (SELECT {}, CASE WHEN d.flags IS NULL THEN 'CLEAN' ELSE {} END
        FROM {} b LEFT JOIN ({}) d ON d.row_number = b.row_number ORDER BY b.row_number) TO STDOUT WITH (FORMAT csv)",
        select_fields("b", bucket.merchant),
        name_kind("d.flags"),
        bucket_table(bucket.job, bucket.number),
        bucket.select_duplicates(),
    );
    copy_lines(tx, "export.report", &sql).await
}

fn name_kind(flags: &str) -> String {
    const BOTH: i16 = INTERNAL | EXISTING;
    format!(
        "CASE {flags} WHEN {INTERNAL} THEN 'INTERNAL_DUPLICATE' WHEN {EXISTING} THEN 'DATABASE_DUPLICATE' \
         WHEN {BOTH} THEN 'BOTH_DUPLICATE' WHEN {LATE} THEN 'LATE_DUPLICATE' END"
    )
}
