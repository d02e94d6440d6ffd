//! Copying the rows of a file into a bucket, and deleting those of what it replaces.

use super::tables::bucket_table;
use crate::db::binary::BinaryBuffer;
use crate::db::copy::copy_in;
use crate::db::error::DbResult;
use crate::db::statement::Composed;
use crate::db::transaction::Transaction;
use crate::domain::ids::JobId;
use crate::domain::row::Row;
use bytes::Bytes;

/// The columns that a row is sent as, in the order of `CopyBuffer::push`.
const COLUMNS: [&str; 10] = [
    "row_number",
    "code",
    "serial",
    "sku",
    "points",
    "sku_name",
    "batch_code",
    "price",
    "window_start",
    "window_end",
];

/// A row's place in the job: file by file in order of their keys, record by record. The same on every run.
pub fn row_number(file_no: i32, record_number: i64) -> i64 {
    i64::from(file_no) * 1_000_000_000_000 + record_number
}

/// Rows on their way into one bucket.
pub type CopyBuffer = BinaryBuffer<Row<'static>>;

impl CopyBuffer {
    /// Appends one row.
    pub fn push(&mut self, row_number: i64, row: &Row<'_>) {
        self.begin_row(10);
        self.put_i64(Some(row_number));
        self.put_text(Some(row.code));
        self.put_text(row.serial);
        self.put_text(row.sku);
        self.put_i32(row.points);
        self.put_text(row.sku_name);
        self.put_text(row.batch_code);
        self.put_price(row.price);
        self.put_time(row.window_start);
        self.put_time(row.window_end);
    }
}

/// Deletes the rows of a file from a bucket: what they came from was replaced or left out.
pub async fn delete_rows(tx: &Transaction<'_>, job: JobId, bucket: usize, file_no: i32) -> DbResult<u64> {
    let statement = Composed {
        name: "staging.delete_rows",
        sql: format!(
            "-- staging.delete_rows\nDELETE FROM {} WHERE row_number >= $1 AND row_number < $2",
            bucket_table(job, bucket)
        ),
    };
    statement.run_many(tx, &[&row_number(file_no, 0), &row_number(file_no + 1, 0)]).await
}

/// Sends one buffer to its bucket, and returns how many rows the server took.
pub async fn copy_rows(tx: &Transaction<'_>, job: JobId, bucket: usize, data: Bytes) -> DbResult<u64> {
    let sql = format!(
        "-- staging.copy\nCOPY {} ({}) FROM STDIN WITH (FORMAT binary)",
        bucket_table(job, bucket),
        COLUMNS.join(", ")
    );
    copy_in(tx, "staging.copy", &sql, data).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::staging::tables::code_columns;
    use crate::domain::field::Field;
    use std::collections::BTreeSet;

    #[test]
    fn a_row_is_copied_and_inserted_with_every_field_of_a_code() {
        let fields: BTreeSet<&str> = Field::NAMES.into_iter().filter(|name| *name != "merchant_id").collect();
        let copied: BTreeSet<&str> = COLUMNS.into_iter().filter(|name| *name != "row_number").collect();
        assert_eq!(copied, fields);
        let columns = code_columns();
        assert_eq!(columns.split(", ").collect::<BTreeSet<_>>(), fields);
        // `CopyBuffer::push` sends them in this order.
        assert_eq!(COLUMNS[1..], Field::NAMES[..9]);
    }
}
