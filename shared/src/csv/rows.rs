//! Reads the records of a file as an import takes them: without the header, empty ones skipped, every other one a row or a
//! reject, with its number and line. Loading and checking both use this, so that they can't disagree.

use super::decompress::Bytes;
use super::mismatch::MismatchCheck;
use super::records::{Next, ReadError, Records};
use super::row::{Record, RowParser, is_plain};
use super::warnings::{END_OF_DATA, Taken, Warnings};
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::ids::MerchantId;
use crate::domain::layout::Layout;
use crate::domain::row::{Reject, RejectReason, Row};
use crate::domain::warning::{Findings, WarningReason};
use std::collections::BTreeMap;

/// The end-of-file mark of DOS.
const CTRL_Z: &[u8] = b"\x1a";

/// The records below the header of one file.
pub struct Rows {
    records: Records,
    parser: RowParser,
    mismatch: MismatchCheck,
    warnings: Warnings,
    max_rejects: i64,
    header_seen: bool,
    number: i64,
    skipped: i64,
    rejected_by_reason: BTreeMap<&'static str, i64>,
    /// The line of the last record, if that was taken and is psql's mark of the end.
    end_of_data: Option<u64>,
    /// The record is this mark, and the next one has been read already: only then is it known that it ends nothing.
    mark: Option<Mark>,
}

/// A record of `CTRL_Z` alone.
struct Mark {
    number: i64,
    line: u64,
}

impl Rows {
    /// `text`: decompressed. More than `max_rejects` rejects are a fault of the file.
    pub fn new(text: Bytes, layout: &Layout, merchant: MerchantId, max_rejects: u32) -> Self {
        Self {
            records: Records::new(text, layout.delimiter, layout.line_end),
            parser: RowParser::new(layout, merchant),
            mismatch: MismatchCheck::new(layout),
            warnings: Warnings::new(layout),
            max_rejects: i64::from(max_rejects),
            header_seen: false,
            number: 0,
            skipped: 0,
            rejected_by_reason: BTreeMap::new(),
            end_of_data: None,
            mark: None,
        }
    }

    /// Goes to the next record that isn't empty; `false` at the end. A mark of the end of the file is skipped there. At the
    /// end it may turn out that no record was read as it was meant: a fault of the file.
    pub async fn next(&mut self) -> Result<bool, ReadError> {
        loop {
            if self.mark.take().is_none() && !self.advance().await? {
                return self.end();
            }
            let fields = self.records.fields();
            if fields.is_empty() {
                self.skipped += 1;
                continue;
            }
            let raw = self.records.raw();
            if raw == CTRL_Z {
                let mark = Mark { number: self.number, line: self.records.line() };
                if !self.advance().await? {
                    self.skipped += 1;
                    return self.end();
                }
                self.mark = Some(mark);
                return Ok(true);
            }
            let line = self.records.line();
            self.mismatch.observe(raw, fields.len(), fields.get(0).unwrap_or_default(), line);
            self.end_of_data = None;
            if !self.records.is_finished() {
                self.warnings.add(WarningReason::LastLineUnfinished, line, raw);
            }
            return Ok(true);
        }
    }

    /// Reads the next record below the header, and counts it.
    async fn advance(&mut self) -> Result<bool, ReadError> {
        if !self.header_seen {
            self.header_seen = true;
            if self.records.next().await? == Next::End {
                return Ok(false);
            }
        }
        let next = self.records.next().await?;
        let blank = i64::try_from(self.records.blank_lines()).unwrap_or(0);
        self.number += blank;
        self.skipped += blank;
        if next == Next::End {
            return Ok(false);
        }
        self.number += 1;
        Ok(true)
    }

    fn end(&mut self) -> Result<bool, ReadError> {
        if let Some(line) = self.end_of_data.take() {
            self.warnings.add(WarningReason::EndOfDataMark, line, END_OF_DATA);
        }
        self.mismatch.fault().map_or(Ok(false), |fault| Err(ReadError::File(fault)))
    }

    /// The record as a row; what is worth a look is counted. Called once for each record.
    pub fn row(&mut self) -> Result<Row<'_>, Reject> {
        if self.mark.is_some() {
            let detail = "the record is a ^Z, but not the last".into();
            return Err(Reject { reason: RejectReason::ControlCharacter, detail });
        }
        self.records.check_raw()?;
        let (fields, raw) = (self.records.fields(), self.records.raw());
        let plain = is_plain(fields.bytes());
        let row = self.parser.parse(fields, plain)?;
        let line = self.records.line();
        self.warnings.observe(&Taken { row: &row, fields, plain, line, raw });
        self.end_of_data = (raw == END_OF_DATA).then_some(line);
        Ok(row)
    }

    /// Counts a reject; too many are a fault of the file.
    pub fn count_reject(&mut self, reject: &Reject) -> Result<(), Fault> {
        *self.rejected_by_reason.entry(reject.reason.as_str()).or_default() += 1;
        if self.rejected_by_reason.values().sum::<i64>() <= self.max_rejects {
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
        self.mark.as_ref().map_or(self.number, |mark| mark.number)
    }

    /// The physical line on which the record begins, 1-based.
    pub fn line(&self) -> u64 {
        self.mark.as_ref().map_or(self.records.line(), |mark| mark.line)
    }

    /// The record's bytes as they are in the file, without the end of the line.
    pub fn raw(&self) -> &[u8] {
        if self.mark.is_some() { CTRL_Z } else { self.records.raw() }
    }

    /// Empty records so far.
    pub fn skipped(&self) -> i64 {
        self.skipped
    }

    /// Warnings and rejects so far.
    pub fn findings(&self) -> Findings {
        let rejected_by_reason =
            self.rejected_by_reason.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        Findings { warnings: self.warnings.list(), rejected_by_reason }
    }
}
