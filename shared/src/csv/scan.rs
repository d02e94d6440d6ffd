//! Looks at the raw bytes of a record for what the parser does not tell: blank lines, quotes that are left open or
//! misplaced, line ends that end nothing.
//!
//! The parser's rules (RFC 4180 section 2): a quote opens only at the start of a field; inside quotes two of them are
//! one; text behind the closing quote belongs to the field.

use crate::domain::layout::LineEnd;

/// Blank lines at the start: bytes they take, and how many there are. `after_cr`: the byte before was `\r`.
pub(super) fn leading_blank_lines(bytes: &[u8], line_end: LineEnd, after_cr: bool) -> (usize, u64) {
    let any = line_end == LineEnd::Any;
    let mut at = usize::from(any && after_cr && bytes.first() == Some(&b'\n'));
    let mut lines = 0;
    loop {
        at += match &bytes[at..] {
            [b'\r', b'\n', ..] if any => 2,
            [b'\r', ..] if any => 1,
            [b'\n', ..] => 1,
            _ => return (at, lines),
        };
        lines += 1;
    }
}

/// How many physical lines end in these bytes.
pub(super) fn count_line_ends(bytes: &[u8], line_end: LineEnd) -> u64 {
    let lf = memchr::memchr_iter(b'\n', bytes).count();
    let ends = match line_end {
        LineEnd::Lf => lf,
        LineEnd::Any => {
            let pairs = memchr::memmem::find_iter(bytes, b"\r\n").count();
            lf + memchr::memchr_iter(b'\r', bytes).count() - pairs
        }
    };
    ends as u64
}

/// Calls `outside` with each byte of a record that stands outside of quotes. Returns where a quote opens that is never
/// closed.
fn walk(record: &[u8], delimiter: u8, mut outside: impl FnMut(u8)) -> Option<usize> {
    let (mut at, mut field_start, mut open) = (0, true, None);
    while let Some(byte) = record.get(at) {
        match (open, byte) {
            (Some(_), b'"') if record.get(at + 1) == Some(&b'"') => at += 1,
            (Some(_), b'"') => open = None,
            (None, b'"') if field_start => open = Some(at),
            (None, byte) => outside(*byte),
            (Some(_), _) => {}
        }
        field_start = open.is_none() && *byte == delimiter;
        at += 1;
    }
    open
}

/// Where a quote opens that is never closed.
pub(super) fn find_open_quote(record: &[u8], delimiter: u8) -> Option<usize> {
    walk(record, delimiter, |_| ())
}

/// How many fields a record has with this delimiter.
pub(super) fn count_fields(record: &[u8], delimiter: u8) -> usize {
    let mut fields = 1;
    walk(record, delimiter, |byte| fields += usize::from(byte == delimiter));
    fields
}

/// Whether a `\r` stands outside of quotes.
pub(super) fn has_bare_cr(record: &[u8], delimiter: u8) -> bool {
    if memchr::memchr(b'\r', record).is_none() {
        return false;
    }
    let mut found = false;
    walk(record, delimiter, |byte| found |= byte == b'\r');
    found
}

/// How the quotes of a record break RFC 4180.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MalformedQuotes {
    /// `"a"b`
    TextAfter,
    /// `"a\"b"`
    Backslash,
    /// ` "a"`
    BlankBefore,
}

impl MalformedQuotes {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::TextAfter => {
                "there is text behind a closing quote; a quote that belongs to the text is doubled"
            }
            Self::Backslash => {
                "a backslash stands before a quote, which closes the field; a quote that belongs to the text is doubled"
            }
            Self::BlankBefore => {
                "there is a blank before an opening quote, which makes the quotes part of the text"
            }
        }
    }
}

/// Finds quotes of which the parser would make something else than their writer meant.
pub(super) fn find_malformed_quotes(record: &[u8], delimiter: u8) -> Option<MalformedQuotes> {
    memchr::memchr(b'"', record)?;
    let mut rest = record;
    loop {
        let end = if rest.first() == Some(&b'"') {
            let close = find_closing_quote(rest)?;
            if rest.get(close + 1).is_some_and(|byte| *byte != delimiter) {
                let escaped = rest[close - 1] == b'\\';
                return Some(if escaped { MalformedQuotes::Backslash } else { MalformedQuotes::TextAfter });
            }
            close + 1
        } else {
            let end = memchr::memchr(delimiter, rest).unwrap_or(rest.len());
            if rest[..end].trim_ascii_start().first() == Some(&b'"') {
                return Some(MalformedQuotes::BlankBefore);
            }
            end
        };
        rest = rest.get(end + 1..)?;
    }
}

/// Where the quote closes that opens at the start.
fn find_closing_quote(field: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr(b'"', field.get(at..)?)?;
        if field.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::records::Records;
    use crate::csv::row::Record;
    use proptest::prelude::*;
    use std::io::Cursor;

    #[test]
    fn malformed_quotes_are_told_apart() {
        use MalformedQuotes::{Backslash, BlankBefore, TextAfter};
        for (record, found) in [
            ("\"EJ-1\"x,10", Some(TextAfter)),
            ("\"EJ\"-\"2\",20", Some(TextAfter)),
            ("10,\"a\" ,1", Some(TextAfter)),
            ("\"EF\\\"1\",10", Some(Backslash)),
            ("10, \"EG-1\"", Some(BlankBefore)),
            ("\t\"a\"", Some(BlankBefore)),
            ("5\" nail,1", None),
            ("\"say \"\"no\"\"\",1", None),
            ("\"\",\"\"", None),
            ("\"C:\\\",1", None),
            ("\"a,\"\"b\n\",c", None),
            ("", None),
        ] {
            assert_eq!(find_malformed_quotes(record.as_bytes(), b','), found, "{record}");
        }
    }

    #[test]
    fn only_a_cr_outside_of_quotes_is_bare() {
        assert!(has_bare_cr(b"two\rlines,1", b','));
        assert!(has_bare_cr(b"\"a\"\r,1", b','));
        assert!(!has_bare_cr(b"\"two\rlines\",1", b','));
    }

    proptest! {
        #[test]
        fn the_number_of_fields_is_the_parser_s(record in "[ab,\"; ]{1,20}") {
            let mut records = Records::new(Box::pin(Cursor::new(record.clone())), b',', LineEnd::Lf);
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            match runtime.block_on(records.next()) {
                Ok(_) => prop_assert_eq!(count_fields(record.as_bytes(), b','), records.fields().len()),
                Err(_) => prop_assert!(find_open_quote(record.as_bytes(), b',').is_some()),
            }
        }
    }
}
