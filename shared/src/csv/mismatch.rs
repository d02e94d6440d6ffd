//! Finds files whose records have another delimiter than their header, or whose records each stand in quotes as a whole. To
//! the parser such a record is one long code, and legal, because short records are.

use super::layout::DELIMITERS;
use super::scan::count_fields;
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::layout::Layout;

/// A way to read the records that may give each as many fields as the header has.
#[derive(Debug, Clone, Copy)]
struct Reading {
    delimiter: u8,
    /// The whole record is one quoted field, and this is about its text.
    unquoted: bool,
}

/// What the records so far have in common.
pub(super) struct MismatchCheck {
    width: usize,
    /// The readings that hold for every record so far. None of them for the first record of a file that is in order, so
    /// that checking the others costs nothing.
    readings: Vec<Reading>,
    first_line: Option<u64>,
}

impl MismatchCheck {
    pub(super) fn new(layout: &Layout) -> Self {
        let all = DELIMITERS
            .iter()
            .flat_map(|delimiter| [false, true].map(|unquoted| Reading { delimiter: *delimiter, unquoted }));
        let others = all.filter(|reading| reading.unquoted || reading.delimiter != layout.delimiter);
        let width = layout.columns.len();
        Self { width, readings: if width > 1 { others.collect() } else { Vec::new() }, first_line: None }
    }

    /// Looks at a record: its raw bytes, how many fields it has, and the first of them.
    pub(super) fn observe(&mut self, raw: &[u8], fields: usize, first: &[u8], line: u64) {
        if self.readings.is_empty() {
            return;
        }
        self.first_line.get_or_insert(line);
        let whole = fields == 1 && raw.first() == Some(&b'"');
        self.readings.retain(|reading| {
            fields < self.width
                && match reading.unquoted {
                    true => whole && count_fields(first, reading.delimiter) == self.width,
                    false => count_fields(raw, reading.delimiter) == self.width,
                }
        });
    }

    /// What the whole file shows.
    pub(super) fn fault(&self) -> Option<Fault> {
        let (line, reading) = (self.first_line?, self.readings.first()?);
        let delimiter = char::from(reading.delimiter).escape_default();
        let found =
            if reading.unquoted { "is one quoted field;" } else { "has fewer fields than the header;" };
        let detail = format!(
            "every record {found} split by `{delimiter}` it gives exactly the header's {}",
            self.width
        );
        Some(Fault::at_line(FaultReason::DelimiterMismatch, line, detail))
    }
}
