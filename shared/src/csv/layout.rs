//! Reads a file's layout from its head: delimiter, line ends, and which column holds which field. The header is the first
//! record, as the reader of all records reads it.

use super::foreign;
use super::records::{Next, ReadError, Records};
use super::row::Record;
use super::scan::leading_blank_lines;
use super::text::show_invisible;
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::field::{Field, Mapping, REJECT_COLUMNS, fold};
use crate::domain::layout::{Compression, Layout, LineEnd};
use std::io::Cursor;

/// The header must end within so many bytes.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The most columns of a file.
pub const MAX_COLUMNS: usize = 1000;
/// The delimiters that are told by the header.
pub(super) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Reads the layout from the first bytes of a file, already decompressed.
///
/// `complete`: these bytes are the whole file.
pub async fn read_layout(
    head: &[u8],
    complete: bool,
    compression: Compression,
    mapping: &Mapping,
) -> Result<Layout, Fault> {
    if let Some(name) = foreign::name_binary(head, compression != Compression::None) {
        return Err(Fault::new(FaultReason::NotCsv, format!("it is {name}")));
    }
    let text = strip_bom(head)?;
    if complete && text.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::new(FaultReason::EmptyFile, "it holds no record"));
    }
    let text = &text[leading_blank_lines(text, LineEnd::Any, false).0..];
    let looks_utf16 = text.len() >= 4 && text[..4].iter().filter(|b| **b == 0).count() == 2;
    if looks_utf16 {
        return Err(Fault::new(FaultReason::Utf16, "every second byte is zero"));
    }
    let header = choose_header(text, complete, mapping).await.map_err(|fault| name_format(text, fault))?;
    let end = header.end;
    let layout = header.assign(compression, mapping).map_err(|fault| name_format(text, fault))?;
    if complete && text[end..].iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::new(FaultReason::HeaderOnly, "there is nothing below the header"));
    }
    Ok(layout)
}

/// The bytes after a UTF-8 byte order mark; a UTF-16 one is a fault.
pub fn strip_bom(head: &[u8]) -> Result<&[u8], Fault> {
    match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Err(Fault::new(FaultReason::Utf16, "it begins with a UTF-16 byte order mark"))
        }
        [0xef, 0xbb, 0xbf, text @ ..] => Ok(text),
        _ => Ok(head),
    }
}

/// The fault, or a better one if the text has a known format that is not CSV.
fn name_format(text: &[u8], fault: Fault) -> Fault {
    match (fault.reason, foreign::name_text(text)) {
        (FaultReason::MissingColumn | FaultReason::DuplicateColumn, _) | (_, None) => fault,
        (_, Some(name)) => Fault::new(FaultReason::NotCsv, format!("it is {name}")),
    }
}

/// The first record as it is with one delimiter.
struct Header {
    delimiter: u8,
    names: Vec<String>,
    line_end: LineEnd,
    /// Where it ends in the text.
    end: usize,
}

/// Chooses the delimiter with which most columns are known fields; among equals the one with most columns.
async fn choose_header(text: &[u8], complete: bool, mapping: &Mapping) -> Result<Header, Fault> {
    let (mut best, mut fault): (Option<(usize, Header)>, _) = (None, None);
    for delimiter in DELIMITERS {
        match read_header(text, complete, delimiter).await {
            Ok(header) => {
                let known = header.names.iter().filter(|name| is_known(name, mapping)).count();
                let better =
                    best.as_ref().is_none_or(|(k, b)| (known, header.names.len()) > (*k, b.names.len()));
                if better {
                    best = Some((known, header));
                }
            }
            Err(found) => {
                fault.get_or_insert(found);
            }
        }
    }
    match (best, fault) {
        (Some((_, header)), _) if header.names.len() > MAX_COLUMNS => {
            let detail = format!("{} columns; at most {MAX_COLUMNS} are read", header.names.len());
            Err(Fault::at_line(FaultReason::HeaderTooLong, 1, detail))
        }
        // A header that never ends with one delimiter is no header of one column with another.
        (Some((0, _)), Some(fault)) => Err(fault),
        (Some((_, header)), _) => Ok(header),
        (None, fault) => {
            Err(fault.unwrap_or_else(|| Fault::new(FaultReason::EmptyFile, "it holds no record")))
        }
    }
}

/// Reads the first record. `text` begins with it, and is the rest of the file if `complete`.
async fn read_header(text: &[u8], complete: bool, delimiter: u8) -> Result<Header, Fault> {
    let window = &text[..text.len().min(MAX_HEADER_BYTES)];
    let complete = complete && window.len() == text.len();
    let mut records = Records::new(Box::pin(Cursor::new(window.to_vec())), delimiter, LineEnd::Any);
    let too_long = || {
        let detail = format!("the first record does not end within {MAX_HEADER_BYTES} bytes");
        Fault::at_line(FaultReason::HeaderTooLong, 1, detail)
    };
    match records.next().await {
        Ok(Next::Record) if records.is_finished() || complete => {}
        Ok(Next::Record) => {
            check_header_bytes(records.raw())?;
            return Err(too_long());
        }
        Ok(Next::End) => return Err(Fault::new(FaultReason::EmptyFile, "it holds no record")),
        Err(ReadError::File(fault)) => {
            check_header_bytes(window)?;
            return Err(if complete {
                Fault { detail: "the header never ends".into(), ..fault }
            } else {
                too_long()
            });
        }
        Err(ReadError::Source(error)) => return Err(Fault::new(FaultReason::NotCsv, error.to_string())),
    }
    check_header_bytes(records.raw())?;
    let name = |(column, field): (usize, &[u8])| {
        let name = String::from_utf8_lossy(field);
        // A byte order mark inside of the first column's quotes is skipped, too.
        let name = if column == 0 { name.trim_start_matches('\u{feff}') } else { &name };
        name.trim().to_owned()
    };
    let names = records.fields().iter().enumerate().map(name).collect();
    let end = usize::try_from(records.end_offset()).unwrap_or(usize::MAX).min(window.len());
    Ok(Header { delimiter, names, line_end: tell_line_end(window, end), end })
}

/// Tells by what ends the header what ends a record: a CR does if it ends the header, or stands between it and the next
/// record.
fn tell_line_end(text: &[u8], end: usize) -> LineEnd {
    match (text[..end].last(), &text[end..]) {
        (Some(b'\r'), [b'\n', ..]) => LineEnd::Lf,
        (Some(b'\r'), _) => LineEnd::Any,
        (_, [b'\r', b'\n', ..]) => LineEnd::Lf,
        (_, [b'\r', ..]) => LineEnd::Any,
        _ => LineEnd::Lf,
    }
}

fn check_header_bytes(header: &[u8]) -> Result<(), Fault> {
    if let Some(byte) = header.iter().find(|b| **b < 0x20 && !matches!(b, b'\t' | b'\r' | b'\n')) {
        return Err(Fault::new(FaultReason::NotCsv, format!("its first line holds byte 0x{byte:02x}")));
    }
    if std::str::from_utf8(header).is_err_and(|e| e.error_len().is_some()) {
        return Err(Fault::at_line(FaultReason::NotCsv, 1, "its first line is not UTF-8 text"));
    }
    Ok(())
}

impl Header {
    /// Finds the field of each column.
    fn assign(self, compression: Compression, mapping: &Mapping) -> Result<Layout, Fault> {
        let mut columns = vec![None; self.names.len()];
        for (field, wanted) in mapping {
            let found =
                self.find(|i| self.names[i] == wanted.trim(), |i| fold(&self.names[i]) == fold(wanted));
            if found.is_empty() {
                let detail =
                    format!("the mapping takes `{field}` from `{wanted}`, which the header does not have");
                return Err(Fault::at_line(FaultReason::MissingColumn, 1, detail));
            }
            self.take(&found, Field::by_name(field), &mut columns)?;
        }
        let mapped = columns.clone();
        for field in Field::ALL.into_iter().filter(|field| !mapping.contains_key(field.as_str())) {
            let means = |i: usize| mapped[i].is_none() && Field::by_header(&self.names[i]) == Some(field);
            // Its own name comes before the same in other letters, but an alias is another column.
            let alias = (0..mapped.len()).any(|i| means(i) && fold(&self.names[i]) != fold(field.as_str()));
            let found = self.find(|i| !alias && means(i) && self.names[i] == field.as_str(), means);
            self.take(&found, Some(field), &mut columns)?;
        }
        if !columns.contains(&Some(Field::Code)) {
            let shown: Vec<String> = self.names.iter().take(20).map(|name| show_invisible(name)).collect();
            let detail: String =
                format!("the header is `{}`", shown.join("`, `")).chars().take(400).collect();
            return Err(Fault::at_line(FaultReason::NoCodeColumn, 1, detail));
        }
        let is_unknown =
            |name: &str, column: &Option<Field>| column.is_none() && !REJECT_COLUMNS.contains(&name);
        let unknown = self
            .names
            .iter()
            .zip(&columns)
            .filter(|(name, column)| is_unknown(name, column))
            .map(|(h, _)| h.clone());
        Ok(Layout {
            unstored: Vec::new(),
            triggers: Vec::new(),
            foreign_keys: Vec::new(),
            compression,
            delimiter: self.delimiter,
            line_end: self.line_end,
            unknown: unknown.collect(),
            columns,
            header: self.names,
            density: None,
        })
    }

    /// The columns that match exactly, or else those that match loosely.
    fn find(&self, exactly: impl Fn(usize) -> bool, loosely: impl Fn(usize) -> bool) -> Vec<usize> {
        let exact: Vec<usize> = (0..self.names.len()).filter(|column| exactly(*column)).collect();
        if exact.is_empty() {
            (0..self.names.len()).filter(|column| loosely(*column)).collect()
        } else {
            exact
        }
    }

    /// Gives a field its column.
    fn take(
        &self,
        found: &[usize],
        field: Option<Field>,
        columns: &mut [Option<Field>],
    ) -> Result<(), Fault> {
        let shown: Vec<String> = found.iter().map(|column| show_invisible(&self.names[*column])).collect();
        let name = field.map_or("", Field::as_str);
        if found.len() > 1 {
            let detail = format!("`{}` all mean `{name}`", shown.join("`, `"));
            return Err(Fault::at_line(FaultReason::DuplicateColumn, 1, detail));
        }
        for column in found {
            if let Some(other) = columns[*column] {
                let detail = format!(
                    "the mapping takes both `{}` and `{name}` from `{}`, and one column can fill one field",
                    other.as_str(),
                    shown.join("")
                );
                return Err(Fault::at_line(FaultReason::DuplicateColumn, 1, detail));
            }
            columns[*column] = field;
        }
        Ok(())
    }
}

/// Whether a column of this name may hold a field.
fn is_known(name: &str, mapping: &Mapping) -> bool {
    mapping.values().any(|wanted| fold(wanted) == fold(name))
        || Field::by_header(name).is_some_and(|field| !mapping.contains_key(field.as_str()))
}
