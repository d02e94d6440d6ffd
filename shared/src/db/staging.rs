//! Staging workspaces: the only place where SQL is composed, because the tables are one set per job.
//!
//! Buckets `onceload_staging.b_<job>_<nn>` hold the rows by range of code, side tables `d_<job>_<nn>` the
//! duplicates of a chunk, and while an insert runs `s_<job>_<run>_<nn>` a chunk's clean rows in order. All UNLOGGED and
//! without an index. Names come from UUIDs and numbers, never from input.

pub mod export;

use super::error::{DbError, DbResult};
use super::transaction::Transaction;
use crate::domain::buckets::Range;
use crate::domain::ids::JobId;
use crate::domain::row::Row;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use std::fmt::Write;
use std::pin::pin;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

const COLUMNS: &str =
    "row_number, code, serial, sku, points, sku_name, batch_code, price, window_start, window_end";
const COLUMN_COUNT: i16 = 10;

/// Flags of a side table's row.
pub const INTERNAL: i16 = 1;
pub const EXISTING: i16 = 2;
pub const LATE: i16 = 4;

/// A row's place in the job: file by file in order of their keys, record by record. The same on every run.
pub fn row_number(file_no: i32, record_number: i64) -> i64 {
    i64::from(file_no) * 1_000_000_000_000 + record_number
}

pub fn bucket_table(job: JobId, bucket: usize) -> String {
    format!("onceload_staging.b_{}_{bucket:02}", job.0.simple())
}

pub fn side_table(job: JobId, chunk: i32) -> String {
    format!("onceload_staging.d_{}_{chunk:02}", job.0.simple())
}

/// Where the clean rows of a chunk lie in order. Of one run of the insert, so that it meets no table of a ghost.
pub fn sorted_table(job: JobId, run: u64, chunk: i32) -> String {
    format!("onceload_staging.s_{}_{run:08x}_{chunk:02}", job.0.simple())
}

/// Makes the job's buckets, empty, whatever was there before.
pub async fn create(tx: &Transaction<'_>, job: JobId, buckets: usize) -> DbResult<()> {
    drop_tables(tx, job).await?;
    let mut sql = String::from("-- staging.create\n");
    for bucket in 0..buckets {
        let table = bucket_table(job, bucket);
        // Filled once and dropped as a whole: autovacuum has nothing to do here.
        let _ = write!(
            sql,
            "CREATE UNLOGGED TABLE {table} (row_number bigint NOT NULL, window_start timestamptz, window_end timestamptz, \
             points integer, code text COLLATE \"C\" NOT NULL, serial text, sku text, sku_name text, batch_code text, \
             price numeric(12, 2)) WITH (autovacuum_enabled = off);"
        );
    }
    tx.batch_execute(&sql).await.map_err(|e| DbError::new("staging.create", e))
}

/// Drops every table of the job's workspace.
pub async fn drop_tables(tx: &Transaction<'_>, job: JobId) -> DbResult<()> {
    drop_like(tx, &format!("^[bds]_{}_", job.0.simple())).await
}

/// Drops the tables whose names match this regular expression.
async fn drop_like(tx: &Transaction<'_>, names: &str) -> DbResult<()> {
    let tables = tx
        .query_typed(
            "-- staging.tables\nSELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'onceload_staging' AND c.relkind = 'r' AND c.relname ~ $1",
            &[(&names, Type::TEXT)],
        )
        .await
        .map_err(|e| DbError::new("staging.tables", e))?;
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    tx.batch_execute(&format!("-- staging.drop\nDROP TABLE IF EXISTS {}", names.join(", ")))
        .await
        .map_err(|e| DbError::new("staging.drop", e))
}

/// Rows on their way into one bucket, in PostgreSQL's binary COPY format
/// (PostgreSQL documentation, COPY, "Binary Format").
#[derive(Debug)]
pub struct CopyBuffer {
    bytes: BytesMut,
    rows: u64,
}

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// 2000-01-01 in microseconds since 1970: PostgreSQL's epoch.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl CopyBuffer {
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(capacity);
        bytes.put_slice(HEADER);
        Self { bytes, rows: 0 }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends one row of staging.
    pub fn push(&mut self, row_number: i64, row: &Row<'_>) {
        let out = &mut self.bytes;
        out.put_i16(COLUMN_COUNT);
        put_i64(out, Some(row_number));
        put_text(out, Some(row.code));
        put_text(out, row.serial);
        put_text(out, row.sku);
        match row.points {
            Some(points) => {
                out.put_i32(4);
                out.put_i32(points);
            }
            None => out.put_i32(-1),
        }
        put_text(out, row.sku_name);
        put_text(out, row.batch_code);
        put_price(out, row.price);
        put_i64(out, row.window_start.map(|micros| micros - POSTGRES_EPOCH_MICROS));
        put_i64(out, row.window_end.map(|micros| micros - POSTGRES_EPOCH_MICROS));
        self.rows += 1;
    }

    /// Appends one row of `import_rejects`.
    pub fn push_reject(&mut self, job: JobId, file: &str, reject: &RejectedRecord<'_>) {
        let out = &mut self.bytes;
        out.put_i16(7);
        out.put_i32(16);
        out.put_slice(job.0.as_bytes());
        put_i64(out, Some(reject.record_number));
        put_i64(out, Some(reject.line_number));
        put_text(out, Some(file));
        put_text(out, Some(reject.reason));
        // A text column takes no NUL, whatever was found in the file.
        put_text(out, Some(&reject.detail.replace('\0', "\u{fffd}")));
        put_bytes(out, reject.raw);
        self.rows += 1;
    }

    /// What COPY is sent; the buffer is empty afterwards.
    pub fn take(&mut self) -> Bytes {
        self.bytes.put_i16(-1);
        self.rows = 0;
        let full = self.bytes.split().freeze();
        self.bytes.reserve(full.len());
        self.bytes.put_slice(HEADER);
        full
    }
}

/// One record that was not staged.
#[derive(Debug)]
pub struct RejectedRecord<'a> {
    pub record_number: i64,
    pub line_number: i64,
    pub reason: &'static str,
    pub detail: &'a str,
    pub raw: &'a [u8],
}

fn put_i64(out: &mut BytesMut, value: Option<i64>) {
    match value {
        Some(value) => {
            out.put_i32(8);
            out.put_i64(value);
        }
        None => out.put_i32(-1),
    }
}

fn put_text(out: &mut BytesMut, value: Option<&str>) {
    match value {
        Some(text) => put_bytes(out, text.as_bytes()),
        None => out.put_i32(-1),
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    // Texts are at most 255 bytes, raw records 8 KiB, keys 1 KiB.
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.put_slice(bytes);
}

/// `numeric`: base-10000 digits, weight of the first, sign, decimals (src/backend/utils/adt/numeric.c, numeric_recv).
fn put_price(out: &mut BytesMut, hundredths: Option<i64>) {
    let Some(hundredths) = hundredths else {
        out.put_i32(-1);
        return;
    };
    let magnitude = hundredths.unsigned_abs();
    let (whole, fraction) = (magnitude / 100, (magnitude % 100) * 100);
    let groups = [whole / 100_000_000, whole / 10_000 % 10_000, whole % 10_000, fraction];
    let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
    let last = groups.iter().rposition(|group| *group != 0).map_or(first, |i| i + 1);
    let digits = &groups[first..last.max(first)];
    out.put_i32(8 + 2 * i32::try_from(digits.len()).unwrap_or(0));
    out.put_i16(i16::try_from(digits.len()).unwrap_or(0));
    out.put_i16(if digits.is_empty() { 0 } else { 2 - i16::try_from(first).unwrap_or(0) });
    out.put_u16(if hundredths < 0 { 0x4000 } else { 0 });
    out.put_i16(2);
    for digit in digits {
        out.put_i16(i16::try_from(*digit).unwrap_or(0));
    }
}

/// Sends one buffer to its bucket. Only inside a transaction; the statement is gone when this returns.
pub async fn copy_rows(tx: &Transaction<'_>, job: JobId, bucket: usize, data: Bytes) -> DbResult<u64> {
    let sql = format!(
        "-- staging.copy\nCOPY {} ({COLUMNS}) FROM STDIN WITH (FORMAT binary)",
        bucket_table(job, bucket)
    );
    copy(tx, &sql, "staging.copy", data).await
}

/// Sends one buffer of rejects.
pub async fn copy_rejects(tx: &Transaction<'_>, data: Bytes) -> DbResult<u64> {
    let sql = "-- rejects.copy\nCOPY import_rejects (job_id, record_number, line_number, file, reason, detail, raw) FROM STDIN WITH (FORMAT binary)";
    copy(tx, sql, "rejects.copy", data).await
}

async fn copy(tx: &Transaction<'_>, sql: &str, name: &'static str, data: Bytes) -> DbResult<u64> {
    let mut sink = pin!(tx.copy_in::<_, Bytes>(sql).await.map_err(|e| DbError::new(name, e))?);
    sink.send(data).await.map_err(|e| DbError::new(name, e))?;
    sink.finish().await.map_err(|e| DbError::new(name, e))
}

/// `AND column >= $n AND column < $m` for the bounds that a range has, and their values.
fn bounds<'a>(range: &'a Range, column: &str, params: &mut Vec<(&'a (dyn ToSql + Sync), Type)>) -> String {
    let mut sql = String::new();
    for (bound, operator) in [(&range.lower, ">="), (&range.upper, "<")] {
        if let Some(bound) = bound {
            params.push((bound, Type::TEXT));
            let _ = write!(sql, " AND {column} {operator} ${}", params.len());
        }
    }
    sql
}

/// A range of codes inside one bucket: what is marked, and later inserted, in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub number: i32,
    pub bucket: usize,
    pub range: Range,
    /// The chunk is its whole bucket, so staging needs no condition on the code.
    pub whole: bool,
}

/// What marking one chunk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    pub rows: i64,
    pub internal: i64,
    pub existing: i64,
    pub both: i64,
    pub clean: i64,
    /// xor of `hashtextextended(code, 0)` of the clean codes: free of order.
    pub clean_checksum: i64,
}

/// Makes the chunk's side table anew and writes its duplicates.
pub async fn mark(tx: &Transaction<'_>, job: JobId, merchant: uuid::Uuid, chunk: &Chunk) -> DbResult<Marked> {
    const NAME: &str = "staging.mark";
    let side = side_table(job, chunk.number);
    tx.batch_execute(&format!(
        "-- staging.side\nDROP TABLE IF EXISTS {side}; \
         CREATE UNLOGGED TABLE {side} (row_number bigint NOT NULL, flags smallint NOT NULL) WITH (autovacuum_enabled = off)"
    ))
    .await
    .map_err(|e| DbError::new("staging.side", e))?;
    let table = bucket_table(job, chunk.bucket);
    let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&merchant, Type::UUID)];
    let staged_bounds = if chunk.whole { String::new() } else { bounds(&chunk.range, "b.code", &mut params) };
    let code_bounds = bounds(&chunk.range, "code", &mut params);
    // The slice of production between the chunk's bounds is one range of one index, whatever else is there.
    let sql = format!(
        "-- {NAME}
WITH seen AS (
    SELECT b.row_number, b.code,
           CASE WHEN row_number() OVER (PARTITION BY b.code ORDER BY b.row_number) > 1 THEN {INTERNAL} ELSE 0 END AS internal
      FROM {table} b WHERE true{staged_bounds}
), flagged AS MATERIALIZED (
    SELECT s.row_number, (s.internal | CASE WHEN c.code IS NULL THEN 0 ELSE {EXISTING} END)::smallint AS flags,
           hashtextextended(s.code, 0) AS hash
      FROM seen s LEFT JOIN (SELECT code FROM codes WHERE merchant_id = $1{code_bounds}) c ON c.code = s.code
), marked AS (
    INSERT INTO {side} SELECT row_number, flags FROM flagged WHERE flags > 0
)
SELECT count(*), count(*) FILTER (WHERE flags & {INTERNAL} > 0), count(*) FILTER (WHERE flags & {EXISTING} > 0),
       count(*) FILTER (WHERE flags = {INTERNAL} | {EXISTING}), count(*) FILTER (WHERE flags = 0),
       coalesce(bit_xor(hash) FILTER (WHERE flags = 0), 0)
  FROM flagged"
    );
    let row = tx.query_typed_one(&sql, &params).await.map_err(|e| DbError::new(NAME, e))?;
    // The export's joins depend on it (DATA_MODEL.md).
    tx.batch_execute(&format!("-- staging.analyze\nANALYZE {side}"))
        .await
        .map_err(|e| DbError::new("staging.analyze", e))?;
    Ok(Marked {
        rows: row.get(0),
        internal: row.get(1),
        existing: row.get(2),
        both: row.get(3),
        clean: row.get(4),
        clean_checksum: row.get(5),
    })
}

/// What looking at a marked chunk again found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rechecked {
    pub rows: i64,
    /// Rows that break a rule which the loader enforced: always 0, or staging was tampered with.
    pub invalid: i64,
    /// Rows whose code is in production now.
    pub existing: i64,
}

pub async fn recheck(
    client: &Client,
    job: JobId,
    merchant: uuid::Uuid,
    chunk: &Chunk,
) -> DbResult<Rechecked> {
    const NAME: &str = "staging.recheck";
    let table = bucket_table(job, chunk.bucket);
    let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&merchant, Type::UUID)];
    let staged_bounds = if chunk.whole { String::new() } else { bounds(&chunk.range, "b.code", &mut params) };
    let in_bucket = bounds(&chunk.range, "b.code", &mut params);
    let in_bucket = in_bucket.strip_prefix(" AND ").unwrap_or("true").to_owned();
    let code_bounds = bounds(&chunk.range, "code", &mut params);
    let sql = format!(
        "-- {NAME}
SELECT count(*), count(*) FILTER (WHERE octet_length(b.code) NOT BETWEEN 1 AND 255 OR NOT ({in_bucket})
                                     OR octet_length(b.serial) > 255 OR octet_length(b.sku) > 255
                                     OR octet_length(b.sku_name) > 255 OR octet_length(b.batch_code) > 255),
       count(c.code)
  FROM {table} b LEFT JOIN (SELECT code FROM codes WHERE merchant_id = $1{code_bounds}) c ON c.code = b.code
 WHERE true{staged_bounds}"
    );
    let row = client.query_typed_one(&sql, &params).await.map_err(|e| DbError::new(NAME, e))?;
    Ok(Rechecked { rows: row.get(0), invalid: row.get(1), existing: row.get(2) })
}

/// Points that cut a bucket into `parts`, from a sample of its rows, and how many rows each part holds.
pub async fn cut(
    client: &Client,
    job: JobId,
    bucket: usize,
    parts: usize,
) -> DbResult<(Vec<String>, Vec<i64>)> {
    const NAME: &str = "staging.cut";
    let table = bucket_table(job, bucket);
    let sample = client
        .query_typed(
            &format!("-- {NAME}\nSELECT code FROM {table} TABLESAMPLE SYSTEM (2) REPEATABLE (1)"),
            &[],
        )
        .await
        .map_err(|e| DbError::new(NAME, e))?;
    let sample: Vec<String> = sample.iter().map(|row| row.get(0)).collect();
    let points = crate::domain::buckets::split_points(sample, parts);
    let counts = client
        .query_typed(
            &format!(
                "-- staging.cut_counts\nSELECT width_bucket(code, $1::text[] COLLATE \"C\"), count(*) FROM {table} GROUP BY 1"
            ),
            &[(&points, Type::TEXT_ARRAY)],
        )
        .await
        .map_err(|e| DbError::new("staging.cut_counts", e))?;
    let mut rows = vec![0; points.len() + 1];
    for row in counts {
        if let Some(slot) = usize::try_from(row.get::<_, i32>(0)).ok().and_then(|i| rows.get_mut(i)) {
            *slot = row.get(1);
        }
    }
    Ok((points, rows))
}

/// What an insert takes from staging, in the order of the columns there.
const CODE_COLUMNS: &str = "window_start, window_end, points, code, serial, sku, sku_name, batch_code, price";
type Params<'a> = Vec<(&'a (dyn ToSql + Sync), Type)>;

/// A query of the clean rows of a chunk, neither duplicate nor late, as `b`. The bounds are parameters.
fn clean_rows<'a>(job: JobId, chunk: &'a Chunk, columns: &str, params: &mut Params<'a>) -> String {
    let condition = if chunk.whole { String::new() } else { bounds(&chunk.range, "b.code", params) };
    format!(
        "SELECT {columns} FROM {} b LEFT JOIN {} d USING (row_number) WHERE d.row_number IS NULL{condition}",
        bucket_table(job, chunk.bucket),
        side_table(job, chunk.number)
    )
}

/// Writes the clean rows of a chunk, in order of code, into a table of their own.
pub async fn sort_clean(tx: &Transaction<'_>, job: JobId, chunk: &Chunk, run: u64) -> DbResult<()> {
    const NAME: &str = "staging.sort";
    let mut params = Vec::new();
    let rows = clean_rows(job, chunk, CODE_COLUMNS, &mut params);
    let table = sorted_table(job, run, chunk.number);
    let sql = format!(
        "-- {NAME}\nCREATE UNLOGGED TABLE {table} WITH (autovacuum_enabled = off) AS {rows} ORDER BY b.code"
    );
    tx.execute_typed(&sql, &params).await.map(drop).map_err(|e| DbError::new(NAME, e))
}

/// Inserts the clean rows of a chunk in order of code, which `sort_clean` may have put there already. Fails with
/// `unique_violation` when one is in production by now.
pub async fn insert_clean(
    client: &Client,
    job: JobId,
    merchant: uuid::Uuid,
    chunk: &Chunk,
    sorted: Option<u64>,
) -> DbResult<u64> {
    const NAME: &str = "staging.insert";
    let mut params: Params<'_> = vec![(&merchant, Type::UUID), (&job.0, Type::UUID)];
    // What is the same in every row stays outside of the sort.
    let rows = match sorted {
        Some(run) => sorted_table(job, run, chunk.number),
        None => format!("({} ORDER BY b.code)", clean_rows(job, chunk, CODE_COLUMNS, &mut params)),
    };
    let sql = format!(
        "-- {NAME}
INSERT INTO codes (merchant_id, import_job_id, source, {CODE_COLUMNS})
SELECT $1, $2, 'import', {CODE_COLUMNS} FROM {rows} clean"
    );
    client.execute_typed(&sql, &params).await.map_err(|e| DbError::new(NAME, e))
}

/// Drops what `sort_clean` has made in this run, or in any.
pub async fn drop_sorted(tx: &Transaction<'_>, job: JobId, run: Option<u64>) -> DbResult<()> {
    let run = run.map(|run| format!("{run:08x}_")).unwrap_or_default();
    drop_like(tx, &format!("^s_{}_{run}", job.0.simple())).await
}

/// What inserting a chunk around codes that appeared since the marking did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertedAround {
    pub inserted: i64,
    pub late: i64,
    pub late_checksum: i64,
}

/// The same, leaving out codes that are in production by now and recording each of them as late.
pub async fn insert_around(
    client: &Client,
    job: JobId,
    merchant: uuid::Uuid,
    chunk: &Chunk,
) -> DbResult<InsertedAround> {
    const NAME: &str = "staging.insert_around";
    let mut params: Params<'_> = vec![(&merchant, Type::UUID), (&job.0, Type::UUID)];
    let rows = clean_rows(job, chunk, "b.*", &mut params);
    let side = side_table(job, chunk.number);
    let sql = format!(
        "-- {NAME}
WITH clean AS MATERIALIZED (
    {rows}
), inserted AS (
    INSERT INTO codes (merchant_id, import_job_id, source, {CODE_COLUMNS})
    SELECT $1, $2, 'import', {CODE_COLUMNS} FROM clean ORDER BY code
    ON CONFLICT DO NOTHING
    RETURNING code
), late AS (
    SELECT b.row_number, b.code FROM clean b WHERE NOT EXISTS (SELECT FROM inserted i WHERE i.code = b.code)
), recorded AS (
    INSERT INTO {side} SELECT row_number, {LATE} FROM late
)
SELECT (SELECT count(*) FROM inserted), count(*), coalesce(bit_xor(hashtextextended(code, 0)), 0) FROM late"
    );
    let row = client.query_typed_one(&sql, &params).await.map_err(|e| DbError::new(NAME, e))?;
    Ok(InsertedAround { inserted: row.get(0), late: row.get(1), late_checksum: row.get(2) })
}
