//! Counting a file without loading it: how many records would be staged, rejected and skipped, and the first of them.

use super::csv_rows::Rows;
use super::csv_stream::{Bytes, Measured, ReadError, decompressed};
use super::objects::Objects;
use crate::db::files::FrozenObject;
use crate::domain::ids::MerchantId;
use crate::domain::layout::{Compression, Layout};
use crate::domain::row::Row;
use chrono::DateTime;
use futures_util::stream::poll_fn;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio_util::io::StreamReader;

/// So many rows are kept, and so many rejects.
const KEPT: usize = 20;
/// As much of a reject's bytes as is shown.
const RAW_BYTES: usize = 200;

/// What was found so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub staged: i64,
    pub rejected: i64,
    pub skipped: i64,
    /// Rejects by their reason.
    pub reasons: BTreeMap<&'static str, i64>,
    /// The first rows, typed.
    pub rows: Vec<Value>,
    /// The first rejects, with record number, line, reason and detail.
    pub rejects: Vec<Value>,
}

impl Tally {
    pub fn records(&self) -> i64 {
        self.staged + self.rejected + self.skipped
    }

    /// Counts to the end of the text; given up, it holds what was counted until then.
    pub async fn count(
        &mut self,
        text: Bytes,
        layout: &Layout,
        merchant: MerchantId,
        max_rejects: u32,
    ) -> Result<(), ReadError> {
        let mut rows = Rows::new(text, layout, merchant, max_rejects);
        while rows.next().await? {
            self.skipped = rows.skipped();
            let reject = match rows.row() {
                Ok(row) => {
                    self.staged += 1;
                    if self.rows.len() < KEPT {
                        self.rows.push(typed(&row, &rows));
                    }
                    continue;
                }
                Err(reject) => reject,
            };
            self.rejected += 1;
            *self.reasons.entry(reject.reason.as_str()).or_default() += 1;
            if self.rejects.len() < KEPT {
                let raw = rows.raw();
                self.rejects.push(json!({
                    "record_number": rows.number(),
                    "line": rows.line(),
                    "reason": reject.reason.as_str(),
                    "detail": reject.detail,
                    "raw": String::from_utf8_lossy(&raw[..raw.len().min(RAW_BYTES)]),
                }));
            }
            rows.count_reject(&reject).map_err(ReadError::File)?;
        }
        self.skipped = rows.skipped();
        Ok(())
    }
}

/// The values that staging would hold.
#[allow(clippy::cast_precision_loss)]
fn typed(row: &Row<'_>, rows: &Rows) -> Value {
    let time = |micros: Option<i64>| micros.and_then(DateTime::from_timestamp_micros);
    json!({
        "record_number": rows.number(),
        "line": rows.line(),
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

/// The text of an object as it streams in, and how many of the object's bytes it was made of so far.
pub fn text_of(
    objects: &Objects,
    object: &FrozenObject,
    compression: Compression,
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
    let (text, taken) = Measured::new(decompressed(StreamReader::new(counted), compression), pulled);
    (Box::pin(text), taken)
}
