//! Tallies a file without loading it: how many records would be staged, rejected and skipped, and samples of them.

use chrono::DateTime;
use futures_util::stream::poll_fn;
use serde_json::{Value, json};
use shared::csv::decompress::{Bytes, Measured, decompress};
use shared::csv::records::ReadError;
use shared::csv::rows::Rows;
use shared::domain::layout::Compression;
use shared::domain::object::FrozenObject;
use shared::domain::row::{Reject, Row};
use shared::s3::objects::Objects;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio_util::io::StreamReader;

/// How many rows are kept as samples, and how many rejects.
const SAMPLES: usize = 20;
/// How many bytes of a rejected record are shown.
const RAW_BYTES: usize = 200;

/// What was found so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) staged: i64,
    pub(crate) rejected: i64,
    pub(crate) skipped: i64,
    /// The first rows, with the values that staging would hold.
    pub(crate) rows: Vec<Value>,
    /// The first rejects, with record number, line, reason and detail.
    pub(crate) rejects: Vec<Value>,
}

impl Tally {
    pub(crate) fn records(&self) -> i64 {
        self.staged + self.rejected + self.skipped
    }

    /// Counts to the end of the file. If the count is given up, the tally holds what was counted until then.
    pub(crate) async fn count(&mut self, rows: &mut Rows) -> Result<(), ReadError> {
        while rows.next().await? {
            self.skipped = rows.skipped();
            let (number, line) = (rows.number(), rows.line());
            let reject = match rows.row() {
                Ok(row) => {
                    self.staged += 1;
                    if self.rows.len() < SAMPLES {
                        self.rows.push(show_row(&row, number, line));
                    }
                    continue;
                }
                Err(reject) => reject,
            };
            self.rejected += 1;
            if self.rejects.len() < SAMPLES {
                self.rejects.push(show_reject(&reject, rows));
            }
            rows.count_reject(&reject).map_err(ReadError::File)?;
        }
        self.skipped = rows.skipped();
        Ok(())
    }
}

/// The values that staging would hold.
#[expect(clippy::cast_precision_loss, reason = "a price of numeric(12, 2) is below 2^53 hundredths")]
fn show_row(row: &Row<'_>, number: i64, line: u64) -> Value {
    let time = |micros: Option<i64>| micros.and_then(DateTime::from_timestamp_micros);
    json!({
        "record_number": number,
        "line": line,
        "code": row.code,
        "serial": row.serial,
        "sku": row.sku,
        "points": row.points,
        "sku_name": row.sku_name,
        "batch_code": row.batch_code,
        "price": row.price.map(|hundredths| hundredths as f64 / 100.0),
        "window_start": time(row.window_start),
        "window_end": time(row.window_end),
    })
}

fn show_reject(reject: &Reject, rows: &Rows) -> Value {
    let raw = rows.raw();
    json!({
        "record_number": rows.number(),
        "line": rows.line(),
        "reason": reject.reason.as_str(),
        "detail": reject.detail,
        "raw": String::from_utf8_lossy(&raw[..raw.len().min(RAW_BYTES)]),
    })
}

/// Streams the text of an object. Returns it with a counter of the object's bytes that it was made of so far.
pub(crate) fn read_text(
    objects: &Objects,
    object: &FrozenObject,
    compression: Compression,
    max_text: u64,
) -> (Bytes, Arc<AtomicI64>) {
    let mut chunks = objects.stream(object, Arc::new(AtomicI64::new(0)));
    let pulled = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&pulled);
    let counted = poll_fn(move |cx| {
        let polled = chunks.poll_recv(cx);
        if let std::task::Poll::Ready(Some(Ok(chunk))) = &polled {
            count.fetch_add(i64::try_from(chunk.len()).unwrap_or(0), Ordering::Relaxed);
        }
        polled
    });
    let (text, taken) = Measured::new(decompress(StreamReader::new(counted), compression, max_text), pulled);
    (Box::pin(text), taken)
}
