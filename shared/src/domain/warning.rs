//! What a person should know of a file before they approve its import. A warning refuses nothing.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Stable names of what is worth a look, in alphabetical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningReason {
    /// The header has no column for a field.
    AbsentColumns,
    /// The last record is `\.`, the end of data of psql's text format.
    EndOfDataMark,
    /// The table of codes has foreign keys, which are looked up for every row.
    ForeignKey,
    /// A column of the header holds no field.
    IgnoredColumns,
    /// The last record has no end of its line.
    LastLineUnfinished,
    /// A code has invisible characters, is not in NFC, or mixes Latin letters with Cyrillic or Greek ones.
    LookAlike,
    /// A text other than the code has a line end.
    MultiLineText,
    /// Points are below 0.
    NegativePoints,
    /// A price is below 0.
    NegativePrice,
    /// A code is what programs write where there is no value.
    NullLikeCode,
    /// A record is the header once more.
    RepeatedHeader,
    /// A code is a number that a spreadsheet has rounded.
    ScientificCode,
    /// A record has fewer fields than the header.
    ShortRecords,
    /// The table of codes has triggers that take part in every insert.
    Trigger,
    /// The application's own table of codes has no column for a field of the file.
    UnstoredColumns,
    /// A window ends before it begins, or when it begins.
    WindowReversed,
}

impl WarningReason {
    /// How many there are.
    pub const COUNT: usize = Self::WindowReversed as usize + 1;
}

/// All warnings of one reason about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What is worth a look.
    pub reason: WarningReason,
    /// How many records it is true of; of columns, triggers and foreign keys, how many of those.
    pub count: i64,
    /// The physical line of the first of them, 1-based.
    pub line: u64,
    /// What stands there: printable, at most `SAMPLE_BYTES`.
    pub sample: String,
}

/// The longest sample.
pub const SAMPLE_BYTES: usize = 100;

/// What was found in a file besides its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// In order of their reasons, one of each.
    pub warnings: Vec<Warning>,
    /// Rejects by their reason.
    pub rejected_by_reason: BTreeMap<String, i64>,
}
