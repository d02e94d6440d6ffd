//! Reads the records of a file as an import takes them: without the header, empty ones skipped, every other one a row or a
//! reject, with its number and line. Loading and checking both use this, so that they can't disagree.

use super::decompress::Bytes;
use super::records::{Next, ReadError, Records};
use super::row::{Record, RowParser};
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::ids::MerchantId;
use crate::domain::layout::Layout;
use crate::domain::row::{Reject, Row};

/// The records below the header of one file.
pub struct Rows {
    records: Records,
    parser: RowParser,
    max_rejects: u64,
    header_seen: bool,
    number: i64,
    skipped: i64,
    rejected: u64,
}

impl Rows {
    /// `text`: decompressed. More than `max_rejects` rejects are a fault of the file.
    pub fn new(text: Bytes, layout: &Layout, merchant: MerchantId, max_rejects: u32) -> Self {
        Self {
            records: Records::new(text, layout.delimiter),
            parser: RowParser::new(layout, merchant),
            max_rejects: u64::from(max_rejects),
            header_seen: false,
            number: 0,
            skipped: 0,
            rejected: 0,
        }
    }

    /// Goes to the next record that isn't empty; `false` at the end.
    pub async fn next(&mut self) -> Result<bool, ReadError> {
        loop {
            let next = self.records.next().await?;
            if self.header_seen {
                let blank = i64::try_from(self.records.blank_lines()).unwrap_or(0);
                self.number += blank;
                self.skipped += blank;
            }
            if next == Next::End {
                return Ok(false);
            }
            if !self.header_seen {
                self.header_seen = true;
                continue;
            }
            self.number += 1;
            if !Record::is_empty(self.records.record()) {
                return Ok(true);
            }
            self.skipped += 1;
        }
    }

    /// The record as a row.
    pub fn row(&self) -> Result<Row<'_>, Reject> {
        self.parser.parse(self.records.record())
    }

    /// Counts a reject; too many are a fault of the file.
    pub fn count_reject(&mut self, reject: &Reject) -> Result<(), Fault> {
        self.rejected += 1;
        if self.rejected <= self.max_rejects {
            return Ok(());
        }
        let detail = format!(
            "more than {} records were rejected; of the last one, {}",
            self.max_rejects, reject.detail
        );
        Err(Fault::at_line(FaultReason::TooManyRejects, self.line(), detail))
    }

    /// The record's number below the header, 1-based; empty records count.
    pub fn number(&self) -> i64 {
        self.number
    }

    /// The physical line on which the record begins, 1-based.
    pub fn line(&self) -> u64 {
        self.records.line()
    }

    /// The record's bytes as they are in the file, without the end of the line.
    pub fn raw(&self) -> &[u8] {
        self.records.raw()
    }

    /// Empty records so far.
    pub fn skipped(&self) -> i64 {
        self.skipped
    }
}
