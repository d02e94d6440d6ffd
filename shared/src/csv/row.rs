//! Turns one CSV record into a row of staging, or a reject that says why.
//!
//! The grammar of each field is the contract of docs/ARCHITECTURE.md ("What a record may hold").
//! Nothing here allocates for a row that is good: the row borrows from the record.

use super::text::show_invisible;
use super::values::{parse_date, parse_points, parse_price};
use crate::domain::field::Field;
use crate::domain::ids::MerchantId;
use crate::domain::layout::Layout;
use crate::domain::row::{MAX_TEXT_BYTES, Reject, RejectReason, Row};
use uuid::Uuid;

/// The fields of a record as a parser returns them.
pub trait Record<'a>: Copy {
    /// How many fields it has.
    fn len(self) -> usize;
    /// The field in this column.
    fn get(self, column: usize) -> Option<&'a [u8]>;
    /// The bytes of all fields, without separators.
    fn bytes(self) -> &'a [u8];

    /// All fields.
    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).filter_map(move |column| self.get(column))
    }

    /// Whether it has nothing but white space.
    fn is_empty(self) -> bool {
        self.bytes().iter().all(u8::is_ascii_whitespace)
    }
}

/// The columns of the fields, and the merchant that records must name.
#[derive(Debug, Clone)]
pub struct RowParser {
    merchant: MerchantId,
    width: usize,
    columns: [Option<usize>; Field::ALL.len()],
}

impl RowParser {
    /// A parser for files of this layout.
    pub fn new(layout: &Layout, merchant: MerchantId) -> Self {
        Self { merchant, width: layout.columns.len(), columns: Field::ALL.map(|field| layout.column(field)) }
    }

    /// Parses a record that isn't empty. `plain`: `is_plain` of its bytes.
    pub fn parse<'a>(&self, record: impl Record<'a>, plain: bool) -> Result<Row<'a>, Reject> {
        if !plain {
            check_bytes(record)?;
        }
        if record.len() > self.width {
            let detail = format!("{} fields, the header has {}", record.len(), self.width);
            return Err(Reject { reason: RejectReason::ExtraFields, detail });
        }
        let field = |field: Field| self.columns[field as usize].and_then(|column| record.get(column));
        if let Some(value) = field(Field::MerchantId) {
            self.check_merchant(value)?;
        }
        let code = field(Field::Code).unwrap_or_default().trim_ascii();
        if code.is_empty() {
            return Err(reject(RejectReason::EmptyCode, Field::Code, code));
        }
        if !plain {
            check_characters(Field::Code, code)?;
            for text in [Field::Serial, Field::Sku, Field::SkuName, Field::BatchCode] {
                check_characters(text, field(text).unwrap_or_default())?;
            }
        }
        Ok(Row {
            code: text(Field::Code, code)?.unwrap_or_default(),
            serial: text(Field::Serial, field(Field::Serial).unwrap_or_default())?,
            sku: text(Field::Sku, field(Field::Sku).unwrap_or_default())?,
            points: value(Field::Points, field(Field::Points), RejectReason::InvalidPoints, parse_points)?,
            sku_name: text(Field::SkuName, field(Field::SkuName).unwrap_or_default())?,
            batch_code: text(Field::BatchCode, field(Field::BatchCode).unwrap_or_default())?,
            price: value(Field::Price, field(Field::Price), RejectReason::InvalidPrice, parse_price)?,
            window_start: value(
                Field::WindowStart,
                field(Field::WindowStart),
                RejectReason::InvalidDate,
                parse_date,
            )?,
            window_end: value(
                Field::WindowEnd,
                field(Field::WindowEnd),
                RejectReason::InvalidDate,
                parse_date,
            )?,
        })
    }

    fn check_merchant(&self, value: &[u8]) -> Result<(), Reject> {
        let value = value.trim_ascii();
        if value.is_empty() {
            return Ok(());
        }
        let id = Uuid::try_parse_ascii(value)
            .map_err(|_| reject(RejectReason::InvalidMerchantId, Field::MerchantId, value))?;
        if id != self.merchant.0 {
            return Err(reject(RejectReason::MerchantMismatch, Field::MerchantId, value));
        }
        Ok(())
    }
}

/// Whether all bytes are printable ASCII: then the record needs no further look at its characters.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    // Without an early exit, so that the compiler can look at many bytes at a time.
    bytes.iter().fold(true, |plain, byte| plain & (byte.wrapping_sub(b' ') < 0x5f))
}

/// A text has no control character. One other than a code may have tabs, and line ends, which stand inside of quotes.
fn check_characters(field: Field, value: &[u8]) -> Result<(), Reject> {
    let Ok(text) = std::str::from_utf8(value) else { return Ok(()) };
    let allowed = |c: char| field != Field::Code && matches!(c, '\t' | '\n' | '\r');
    let forbidden = |c: &char| (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) && !allowed(*c);
    match text.chars().find(forbidden) {
        Some(found) => {
            let detail = format!("{} has the character {}", field.as_str(), found.escape_unicode());
            Err(Reject { reason: RejectReason::ControlCharacter, detail })
        }
        None => Ok(()),
    }
}

fn check_bytes<'a>(record: impl Record<'a>) -> Result<(), Reject> {
    let bytes = record.bytes();
    if memchr::memchr(0, bytes).is_some() {
        return Err(Reject { reason: RejectReason::NulByte, detail: "the record holds a NUL byte".into() });
    }
    // The bytes of all fields together may be valid UTF-8 although a character is split between two fields.
    let valid = bytes.is_ascii()
        || (std::str::from_utf8(bytes).is_ok()
            && record.iter().all(|field| std::str::from_utf8(field).is_ok()));
    if valid {
        return Ok(());
    }
    let (column, value) =
        (1..).zip(record.iter()).find(|(_, f)| std::str::from_utf8(f).is_err()).unwrap_or((1, b""));
    let detail = format!("column {column} is not UTF-8: `{}`", shown(value));
    Err(Reject { reason: RejectReason::InvalidUtf8, detail })
}

fn reject(reason: RejectReason, field: Field, value: &[u8]) -> Reject {
    Reject { reason, detail: format!("{} is `{}`", field.as_str(), shown(value)) }
}

/// The start of a value, fit for a message: nothing in it acts on a terminal.
fn shown(value: &[u8]) -> String {
    let text = show_invisible(&String::from_utf8_lossy(&value[..value.len().min(100)]));
    if value.len() > 100 { format!("{text}... ({} bytes)", value.len()) } else { text }
}

fn text(field: Field, value: &[u8]) -> Result<Option<&str>, Reject> {
    if value.len() > MAX_TEXT_BYTES {
        return Err(reject(RejectReason::TooLong, field, value));
    }
    // Checked for the whole record; this can't fail, and if it did the record is rejected, not staged.
    let text = std::str::from_utf8(value).map_err(|_| reject(RejectReason::InvalidUtf8, field, value))?;
    Ok((!text.is_empty()).then_some(text))
}

/// A typed field: empty is absent, anything else must parse.
fn value<T>(
    field: Field,
    bytes: Option<&[u8]>,
    reason: RejectReason,
    parse: fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, Reject> {
    let bytes = bytes.unwrap_or_default().trim_ascii();
    if bytes.is_empty() {
        return Ok(None);
    }
    parse(bytes).map(Some).ok_or_else(|| reject(reason, field, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::layout::read_layout;
    use crate::domain::field::Mapping;
    use crate::domain::layout::Compression;
    use proptest::prelude::*;

    struct Fields(Vec<Vec<u8>>, Vec<u8>);

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
    }

    impl Fields {
        fn new(fields: Vec<Vec<u8>>) -> Self {
            let joined = fields.concat();
            Self(fields, joined)
        }
    }

    impl<'a> Record<'a> for &'a Fields {
        fn len(self) -> usize {
            self.0.len()
        }
        fn get(self, column: usize) -> Option<&'a [u8]> {
            self.0.get(column).map(Vec::as_slice)
        }
        fn bytes(self) -> &'a [u8] {
            &self.1
        }
    }

    const MERCHANT: MerchantId = MerchantId(Uuid::from_u128(0xabc));

    fn parser(header: &str) -> RowParser {
        let text = format!("{header}\nx\n");
        let layout =
            block_on(read_layout(text.as_bytes(), true, Compression::None, &Mapping::new())).expect("layout");
        RowParser::new(&layout, MERCHANT)
    }

    fn outcome(header: &str, fields: &[&[u8]]) -> Result<String, RejectReason> {
        let record = Fields::new(fields.iter().map(|f| f.to_vec()).collect());
        parser(header)
            .parse(&record, is_plain(record.bytes()))
            .map(|row| format!("{row:?}"))
            .map_err(|reject| reject.reason)
    }

    #[test]
    fn names_what_is_wrong() {
        let own = MERCHANT.to_string();
        let long = vec![b'x'; 256];
        type Case<'a> = (&'a str, &'a [&'a [u8]], Option<RejectReason>);
        let cases: [Case; 18] = [
            ("code", &[b" A1\t"], None),
            ("code", &[b" \t"], Some(RejectReason::EmptyCode)),
            ("sku,code", &[b"1"], Some(RejectReason::EmptyCode)),
            ("code", &[&long], Some(RejectReason::TooLong)),
            ("code,serial", &[b"A", &long], Some(RejectReason::TooLong)),
            ("code,points", &[b"A", b"1e5"], Some(RejectReason::InvalidPoints)),
            ("code,points", &[b"A", b"1,5"], Some(RejectReason::InvalidPoints)),
            ("code,points", &[b"A", b"2147483648"], Some(RejectReason::InvalidPoints)),
            ("code,points", &[b"A", b" -7 "], None),
            ("code,price", &[b"A", b"1.234"], Some(RejectReason::InvalidPrice)),
            ("code,price", &[b"A", b"1,50"], Some(RejectReason::InvalidPrice)),
            ("code,window_start", &[b"A", b"31.12.2026"], Some(RejectReason::InvalidDate)),
            ("code,window_start", &[b"A", b"2026-02-29"], Some(RejectReason::InvalidDate)),
            ("code,merchant_id", &[b"A", b"42"], Some(RejectReason::InvalidMerchantId)),
            (
                "code,merchant_id",
                &[b"A", b"00000000-0000-0000-0000-000000000001"],
                Some(RejectReason::MerchantMismatch),
            ),
            ("code,merchant_id", &[b"A", own.as_bytes()], None),
            ("code", &[b"A\0"], Some(RejectReason::NulByte)),
            ("code", &[b"A", b""], Some(RejectReason::ExtraFields)),
        ];
        for (header, fields, expected) in cases {
            assert_eq!(outcome(header, fields).err(), expected, "{header}: {fields:?}");
        }
        assert_eq!(outcome("code", &[b"\xff"]).err(), Some(RejectReason::InvalidUtf8));
        assert_eq!(
            outcome("code,sku", &[b"\xc3", b"\xa9"]).err(),
            Some(RejectReason::InvalidUtf8),
            "a character that is split between two fields"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_row_or_a_reject(fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 1..9)) {
            let header = "code,serial,points,price,window_start,window_end,merchant_id";
            let record = Fields::new(fields.clone());
            if let Ok(row) = parser(header).parse(&record, is_plain(record.bytes())) {
                prop_assert_eq!(row.code.as_bytes(), fields[0].trim_ascii());
                prop_assert!(!row.code.is_empty() && !row.code.contains('\0'));
                prop_assert!(fields.len() <= 7);
            }
        }
    }
}
