//! Finds what is worth a look in records that are taken. A record in order costs a few comparisons and no allocation, and a
//! file has at most one warning of each reason, whatever it holds.

use super::row::Record;
use super::text::{is_invisible, show_within};
use crate::domain::field::Field;
use crate::domain::layout::Layout;
use crate::domain::row::Row;
use crate::domain::warning::{SAMPLE_BYTES, Warning, WarningReason};
use memchr::memchr2;
use unicode_normalization::is_nfc;

/// What spreadsheets, databases and programs write where there is no value.
const NULL_LIKE: [&str; 18] = [
    "null",
    "n/a",
    "#n/a",
    "na",
    "nan",
    "none",
    "(null)",
    "-",
    "undefined",
    "true",
    "false",
    "#ref!",
    "#value!",
    "#name?",
    "#div/0!",
    "#num!",
    "nil",
    "\\N",
];

/// Length of the longest of them in bytes.
const LONGEST_NULL_LIKE: usize = "undefined".len();

/// What psql writes behind the last row of its text format.
pub(super) const END_OF_DATA: &[u8] = b"\\.";

/// A record that was taken, and where it stands.
pub(super) struct Taken<'a, R> {
    pub(super) row: &'a Row<'a>,
    pub(super) fields: R,
    /// All of its bytes are printable ASCII.
    pub(super) plain: bool,
    pub(super) line: u64,
    pub(super) raw: &'a [u8],
}

/// The warnings about one file so far.
pub(super) struct Warnings {
    header: Vec<String>,
    /// The header of the column with the codes.
    code_header: String,
    found: [Option<Warning>; WarningReason::COUNT],
}

impl Warnings {
    /// With what the header says, and what is known of the table that the records are for.
    pub(super) fn new(layout: &Layout) -> Self {
        let code_header = layout.column(Field::Code).and_then(|column| layout.header.get(column)).cloned();
        let mut warnings = Self {
            header: layout.header.clone(),
            code_header: code_header.unwrap_or_default(),
            found: [const { None }; WarningReason::COUNT],
        };
        // Without a column of merchants the codes are the import's merchant's: nothing is missing.
        let absent = |field: &Field| *field != Field::MerchantId && layout.column(*field).is_none();
        let absent: Vec<&str> = Field::ALL.into_iter().filter(absent).map(Field::as_str).collect();
        warnings.add_names(WarningReason::AbsentColumns, &absent);
        let ignored: Vec<&str> = layout.unknown.iter().map(String::as_str).collect();
        warnings.add_names(WarningReason::IgnoredColumns, &ignored);
        let unstored: Vec<&str> = layout.unstored.iter().map(|field| field.as_str()).collect();
        warnings.add_names(WarningReason::UnstoredColumns, &unstored);
        for (reason, names) in
            [(WarningReason::Trigger, &layout.triggers), (WarningReason::ForeignKey, &layout.foreign_keys)]
        {
            warnings.add_names(reason, &names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        warnings
    }

    fn add_names(&mut self, reason: WarningReason, names: &[&str]) {
        if !names.is_empty() {
            let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
            let sample = show_within(&names.join(", "), SAMPLE_BYTES);
            self.found[reason as usize] = Some(Warning { reason, count, line: 1, sample });
        }
    }

    /// Counts one more, and keeps the first.
    #[cold]
    pub(super) fn add(&mut self, reason: WarningReason, line: u64, sample: &[u8]) {
        match &mut self.found[reason as usize] {
            Some(warning) => warning.count += 1,
            none => {
                let sample = show_within(
                    &String::from_utf8_lossy(&sample[..sample.len().min(4 * SAMPLE_BYTES)]),
                    SAMPLE_BYTES,
                );
                *none = Some(Warning { reason, count: 1, line, sample });
            }
        }
    }

    /// Looks at a record.
    #[inline]
    pub(super) fn observe<'a>(&mut self, taken: &Taken<'a, impl Record<'a>>) {
        use WarningReason as Reason;
        let Taken { row, fields, plain, line, raw } = taken;
        let code = row.code.as_bytes();
        if fields.len() < self.header.len() {
            self.add(Reason::ShortRecords, *line, raw);
        }
        // Most codes are told apart by their length or their first letter.
        if code.len() <= LONGEST_NULL_LIKE && is_null_like(row.code) {
            self.add(Reason::NullLikeCode, *line, code);
        }
        if matches!(code[0], b'0'..=b'9' | b'+' | b'-') && is_scientific(code) {
            self.add(Reason::ScientificCode, *line, code);
        }
        if code.eq_ignore_ascii_case(self.code_header.as_bytes()) && self.is_header(*fields) {
            self.add(Reason::RepeatedHeader, *line, raw);
        }
        if row.points.is_some_and(|points| points < 0) {
            self.add(Reason::NegativePoints, *line, raw);
        }
        if row.price.is_some_and(|price| price < 0) {
            self.add(Reason::NegativePrice, *line, raw);
        }
        if row.window_start.zip(row.window_end).is_some_and(|(start, end)| end <= start) {
            self.add(Reason::WindowReversed, *line, raw);
        }
        if *plain {
            return;
        }
        if !code.is_ascii() && is_look_alike(row.code) {
            self.add(Reason::LookAlike, *line, spell_out(row.code).as_bytes());
        }
        let texts = [row.serial, row.sku, row.sku_name, row.batch_code];
        if let Some(text) =
            texts.into_iter().flatten().find(|text| memchr2(b'\r', b'\n', text.as_bytes()).is_some())
        {
            self.add(Reason::MultiLineText, *line, text.as_bytes());
        }
    }

    fn is_header<'a>(&self, fields: impl Record<'a>) -> bool {
        fields.len() == self.header.len()
            && fields
                .iter()
                .zip(&self.header)
                .all(|(field, header)| field.trim_ascii().eq_ignore_ascii_case(header.as_bytes()))
    }

    /// In order of their reasons.
    pub(super) fn list(&self) -> Vec<Warning> {
        self.found.iter().flatten().cloned().collect()
    }
}

fn is_null_like(code: &str) -> bool {
    NULL_LIKE.iter().any(|value| value.eq_ignore_ascii_case(code))
}

/// `1.23457E+12`: digits with a decimal separator or an exponent with a sign, as spreadsheets write large numbers. `12E34` may be
/// any code.
fn is_scientific(code: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = code.strip_prefix(b"-").or_else(|| code.strip_prefix(b"+")).unwrap_or(code);
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    if whole.is_empty() {
        return false;
    }
    let (decimals, rest) = match rest {
        [b'.' | b',', rest @ ..] => (digits(rest), &rest[digits(rest)..]),
        _ => (0, rest),
    };
    let [b'e' | b'E', exponent @ ..] = rest else { return false };
    let (signed, exponent) = match exponent {
        [b'+' | b'-', exponent @ ..] => (true, exponent),
        _ => (false, exponent),
    };
    (signed || decimals > 0) && !exponent.is_empty() && digits(exponent) == exponent.len()
}

/// Whether it can be taken for another code.
fn is_look_alike(code: &str) -> bool {
    let latin = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{24f}') && c.is_alphabetic();
    // The blocks of the Unicode Standard: Greek, Cyrillic, and their extensions.
    let twin = |c: char| {
        matches!(c, '\u{370}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{1f00}'..='\u{1fff}'
            | '\u{2de0}'..='\u{2dff}' | '\u{a640}'..='\u{a69f}')
            && c.is_alphabetic()
    };
    code.contains(is_invisible) || !is_nfc(code) || code.contains(latin) && code.contains(twin)
}

/// Every character that is not ASCII by its number, so that twins differ.
fn spell_out(code: &str) -> String {
    let mut spelled = String::new();
    for c in code.chars() {
        if c.is_ascii() { spelled.push(c) } else { spelled.extend(c.escape_unicode()) }
    }
    spelled
}
