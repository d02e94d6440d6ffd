//! Faults of a file as a whole: each says why the file is refused, and what to do.

use super::file_name::{self, FileName};
use super::remark::shorten;
use super::step::MAX_MESSAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Stable names, as they stand in `validation_errors[].reason` and `import_files.error_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultReason {
    /// There is no record in it.
    EmptyFile,
    /// There is nothing below its header.
    HeaderOnly,
    /// No column holds the codes.
    NoCodeColumn,
    /// Two columns mean the same field.
    DuplicateColumn,
    /// The mapping names a header that it does not have.
    MissingColumn,
    /// Its compressed data ends in the middle.
    TruncatedGzip,
    /// Its compressed data can't be read.
    CorruptCompression,
    /// Decompressing it needs more memory than there is.
    WindowTooLarge,
    /// It holds more text than is read.
    DecompressedTooLarge,
    /// It holds absurdly more text than it has bytes.
    CompressionBomb,
    /// Its text is UTF-16.
    Utf16,
    /// It is not CSV.
    NotCsv,
    /// There is no such object.
    MissingObject,
    /// Its storage class keeps it from being read.
    ArchivedObject,
    /// S3 refuses to hand it out.
    AccessDenied,
    /// Its name is none that an import takes.
    UnknownName,
    /// Its first record does not end where a header must.
    HeaderTooLong,
    /// A quote that opens is never closed.
    UnterminatedQuote,
    /// A record is longer than the bound.
    RecordTooLong,
    /// Its records have another delimiter than its header, or each stands in quotes as a whole.
    DelimiterMismatch,
    /// More of its records were rejected than the options allow.
    TooManyRejects,
}

impl FaultReason {
    /// The name as users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyFile => "empty_file",
            Self::HeaderOnly => "header_only",
            Self::NoCodeColumn => "no_code_column",
            Self::DuplicateColumn => "duplicate_column",
            Self::MissingColumn => "missing_column",
            Self::TruncatedGzip => "truncated_gzip",
            Self::CorruptCompression => "corrupt_compression",
            Self::WindowTooLarge => "window_too_large",
            Self::DecompressedTooLarge => "decompressed_too_large",
            Self::CompressionBomb => "compression_bomb",
            Self::Utf16 => "utf16",
            Self::NotCsv => "not_csv",
            Self::MissingObject => "missing_object",
            Self::ArchivedObject => "archived_object",
            Self::AccessDenied => "access_denied",
            Self::UnknownName => "unknown_name",
            Self::HeaderTooLong => "header_too_long",
            Self::UnterminatedQuote => "unterminated_quote",
            Self::RecordTooLong => "record_too_long",
            Self::DelimiterMismatch => "delimiter_mismatch",
            Self::TooManyRejects => "too_many_rejects",
        }
    }

    /// What the person who made the file can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::EmptyFile | Self::HeaderOnly => "remove the file from the import or fill it",
            Self::NoCodeColumn => "name the column with the codes `code`, or give a mapping",
            Self::DuplicateColumn => "keep one of the columns",
            Self::MissingColumn => "correct the mapping or the header",
            Self::TruncatedGzip => "upload the file again: it was cut short",
            Self::CorruptCompression => "compress the file again and upload it",
            Self::WindowTooLarge => "compress the file again without `--long`, or with `--long=27` at most",
            Self::DecompressedTooLarge => "split the file",
            Self::CompressionBomb => {
                "check what the file holds: no list of codes compresses so much; if it is right, split it"
            }
            Self::Utf16 => "save the file as UTF-8",
            Self::NotCsv => "export the data as CSV text in UTF-8 (comma, semicolon, tab or pipe separated)",
            Self::MissingObject => "upload the file, or take it off the list",
            Self::ArchivedObject => "restore the object, wait until it is restored, then retry",
            Self::AccessDenied => {
                "let the functions use the key that the object is encrypted with, or upload it again, then retry"
            }
            Self::UnknownName => {
                "give it a name that ends in .csv, .tsv or .txt (.gz or .zst may follow), or take it out of the folder"
            }
            Self::HeaderTooLong => "check that the first line is the header",
            Self::UnterminatedQuote => "close the quote, or double it if it belongs to the text",
            Self::RecordTooLong => "check quotes and line ends around this line",
            Self::DelimiterMismatch => {
                "write the header and the records with the same delimiter, and quotes around single fields only"
            }
            Self::TooManyRejects => "correct the file, or raise `max_rejects`",
        }
    }
}

/// A fault of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFault {
    /// The key of the file.
    pub file: String,
    /// What is wrong with it.
    pub reason: FaultReason,
    /// Physical line, 1-based, where one can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What was found, for a person.
    pub detail: String,
}

impl FileFault {
    /// A fault of this file.
    pub fn new(file: impl Into<String>, fault: Fault) -> Self {
        Self { file: file.into(), reason: fault.reason, line: fault.line, detail: fault.detail }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {} ({}); {}", self.reason.as_str(), self.detail, self.reason.advice())
    }
}

/// How many files a job names that were rejected; `GET /imports/{id}/files` names all.
pub const SHOWN_FAULTS: usize = 20;

/// The longest detail of a fault, which may repeat what the file holds.
pub const MAX_DETAIL_BYTES: usize = 500;

/// Names the first files that were rejected, as far as a message holds them, and how many more. `faults`: each names its file.
pub fn summarize<T: fmt::Display>(faults: &[T], files: usize) -> String {
    let mut left = MAX_MESSAGE_BYTES - 100;
    let shown: Vec<String> = faults
        .iter()
        .take(SHOWN_FAULTS)
        .map(ToString::to_string)
        .take_while(|fault| {
            left = left.saturating_sub(fault.len() + 2);
            left > 0
        })
        .collect();
    let more = match faults.len() - shown.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{} of {files} files rejected: {}{more}", faults.len(), shown.join("; "))
}

/// A fault before it is known which file it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub reason: FaultReason,
    /// Physical line, 1-based, where one can be named.
    pub line: Option<u64>,
    /// What was found, for a person.
    pub detail: String,
}

impl Fault {
    /// A fault of the file as a whole.
    pub fn new(reason: FaultReason, detail: impl Into<String>) -> Self {
        let detail = shorten(&detail.into(), MAX_DETAIL_BYTES).into_owned();
        Self { reason, line: None, detail }
    }

    /// The name of a file is none that an import takes.
    pub fn unknown_name(key: &str) -> Option<Self> {
        let is_unknown = FileName::of(key) == FileName::Unknown;
        is_unknown.then(|| Self::new(FaultReason::UnknownName, file_name::RULE))
    }

    /// A fault on a physical line.
    pub fn at_line(reason: FaultReason, line: u64, detail: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::new(reason, detail) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}); {}", self.reason.as_str(), self.detail, self.reason.advice())
    }
}

/// A stream of bytes can end in a fault of its file.
impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_rejected_files_are_named() {
        let message = summarize(&["bad"; 23], 30);
        assert_eq!(message.matches("bad").count(), SHOWN_FAULTS);
        assert!(message.starts_with("23 of 30 files") && message.ends_with("; and 3 more"), "{message}");
        assert!(!summarize(&["bad"; SHOWN_FAULTS], 30).contains("more"));
    }
}
