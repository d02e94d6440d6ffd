//! One CSV record becomes one row of staging, or a reject that says why.
//!
//! The grammar of each field is the contract of docs/ARCHITECTURE.md ("What a record may hold").
//! Nothing here allocates for a row that is good: the row borrows from the record.

use super::ids::MerchantId;
use super::layout::{Field, Layout};
use uuid::Uuid;

/// Longest text in bytes.
pub const MAX_TEXT_BYTES: usize = 255;

/// Stable names of what is wrong with a record, as they stand in `import_rejects.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    EmptyCode,
    TooLong,
    InvalidPoints,
    InvalidPrice,
    InvalidDate,
    InvalidMerchantId,
    MerchantMismatch,
    InvalidUtf8,
    NulByte,
    ExtraFields,
}

impl RejectReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyCode => "empty_code",
            Self::TooLong => "too_long",
            Self::InvalidPoints => "invalid_points",
            Self::InvalidPrice => "invalid_price",
            Self::InvalidDate => "invalid_date",
            Self::InvalidMerchantId => "invalid_merchant_id",
            Self::MerchantMismatch => "merchant_mismatch",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NulByte => "nul_byte",
            Self::ExtraFields => "extra_fields",
        }
    }
}

/// A record that can't be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub reason: RejectReason,
    /// What was found, for a person: the field and the start of its value.
    pub detail: String,
}

/// The fields of a record as its parser hands them out.
pub trait Record {
    fn len(&self) -> usize;
    fn get(&self, column: usize) -> Option<&[u8]>;
    /// All fields' bytes in a row, without separators.
    fn bytes(&self) -> &[u8];

    fn is_empty(&self) -> bool {
        self.bytes().iter().all(u8::is_ascii_whitespace)
    }
}

/// A row of staging. Text is UTF-8 without NUL, 1 to 255 bytes; absent is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    pub code: &'a str,
    pub serial: Option<&'a str>,
    pub sku: Option<&'a str>,
    pub points: Option<i32>,
    pub sku_name: Option<&'a str>,
    pub batch_code: Option<&'a str>,
    /// In hundredths.
    pub price: Option<i64>,
    /// Microseconds since 1970-01-01 UTC.
    pub window_start: Option<i64>,
    pub window_end: Option<i64>,
}

/// What one record is parsed with: where the fields are, and whose they must be.
#[derive(Debug, Clone)]
pub struct RowParser {
    merchant: MerchantId,
    width: usize,
    columns: [Option<usize>; Field::ALL.len()],
}

impl RowParser {
    pub fn new(layout: &Layout, merchant: MerchantId) -> Self {
        Self { merchant, width: layout.columns.len(), columns: Field::ALL.map(|field| layout.column(field)) }
    }

    /// The row of a record that isn't wholly empty.
    pub fn parse<'a>(&self, record: &'a impl Record) -> Result<Row<'a>, Reject> {
        check_bytes(record)?;
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
        Ok(Row {
            code: text(Field::Code, code)?.unwrap_or_default(),
            serial: text(Field::Serial, field(Field::Serial).unwrap_or_default())?,
            sku: text(Field::Sku, field(Field::Sku).unwrap_or_default())?,
            points: value(Field::Points, field(Field::Points), RejectReason::InvalidPoints, points)?,
            sku_name: text(Field::SkuName, field(Field::SkuName).unwrap_or_default())?,
            batch_code: text(Field::BatchCode, field(Field::BatchCode).unwrap_or_default())?,
            price: value(Field::Price, field(Field::Price), RejectReason::InvalidPrice, price)?,
            window_start: value(
                Field::WindowStart,
                field(Field::WindowStart),
                RejectReason::InvalidDate,
                date,
            )?,
            window_end: value(Field::WindowEnd, field(Field::WindowEnd), RejectReason::InvalidDate, date)?,
        })
    }

    fn check_merchant(&self, value: &[u8]) -> Result<(), Reject> {
        let value = value.trim_ascii();
        let id = Uuid::try_parse_ascii(value)
            .map_err(|_| reject(RejectReason::InvalidMerchantId, Field::MerchantId, value))?;
        if id != self.merchant.0 {
            return Err(reject(RejectReason::MerchantMismatch, Field::MerchantId, value));
        }
        Ok(())
    }
}

fn check_bytes(record: &impl Record) -> Result<(), Reject> {
    let bytes = record.bytes();
    if memchr::memchr(0, bytes).is_some() {
        return Err(Reject { reason: RejectReason::NulByte, detail: "the record holds a NUL byte".into() });
    }
    // The fields lie in a row: the whole may be valid where a character is torn across two of them.
    let valid = bytes.is_ascii()
        || (std::str::from_utf8(bytes).is_ok()
            && (0..record.len()).all(|i| record.get(i).is_some_and(|f| std::str::from_utf8(f).is_ok())));
    if valid {
        return Ok(());
    }
    let (column, value) = (0..record.len())
        .filter_map(|i| Some((i + 1, record.get(i)?)))
        .find(|(_, f)| std::str::from_utf8(f).is_err())
        .unwrap_or((1, b""));
    let detail = format!("column {column} is not UTF-8: `{}`", shown(value));
    Err(Reject { reason: RejectReason::InvalidUtf8, detail })
}

fn reject(reason: RejectReason, field: Field, value: &[u8]) -> Reject {
    Reject { reason, detail: format!("{} is `{}`", field.as_str(), shown(value)) }
}

/// The start of a value, fit for a message.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned();
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

/// A 32-bit integer: optional sign, digits.
fn points(bytes: &[u8]) -> Option<i32> {
    let digits = bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix(b"+")).unwrap_or(bytes);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A decimal with `.`: optional sign, up to 10 digits, up to 2 decimals. In hundredths.
fn price(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(dot) => (&digits[..dot], Some(&digits[dot + 1..])),
        None => (digits, None),
    };
    let fraction = fraction.unwrap_or(b"0");
    if !(1..=10).contains(&whole.len()) || !(1..=2).contains(&fraction.len()) {
        return None;
    }
    let hundredths = number(whole)? * 100 + number(fraction)? * if fraction.len() == 1 { 10 } else { 1 };
    Some(if negative { -hundredths } else { hundredths })
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
}

/// ISO 8601: `YYYY-MM-DD`, or that with `T` or a space, `HH:MM[:SS[.f{1,6}]]` and `Z`, `+HH:MM`, `+HHMM`
/// or `+HH`. UTC unless it says otherwise. In microseconds since 1970.
fn date(bytes: &[u8]) -> Option<i64> {
    let (day, time) = bytes.split_at_checked(10)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *day else { return None };
    let year = i32::try_from(number(&[y0, y1, y2, y3])?).ok()?;
    let month = u32::try_from(number(&[m0, m1])?).ok()?;
    let day = u32::try_from(number(&[d0, d1])?).ok()?;
    let midnight = chrono::NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(0, 0, 0)?.and_utc();
    if year == 0 {
        return None;
    }
    Some(midnight.timestamp_micros() + if time.is_empty() { 0 } else { time_of_day(time)? })
}

fn time_of_day(bytes: &[u8]) -> Option<i64> {
    let clock = bytes.strip_prefix(b"T").or_else(|| bytes.strip_prefix(b" "))?;
    let zone_at = clock.iter().position(|b| matches!(b, b'Z' | b'z' | b'+' | b'-'));
    let (clock, zone) = clock.split_at(zone_at.unwrap_or(clock.len()));
    let (hours, rest) = (clock.get(..2)?, clock.get(2..)?);
    let (minutes, rest) = (rest.strip_prefix(b":")?.get(..2)?, rest.get(3..)?);
    let (seconds, fraction) = match rest.strip_prefix(b":") {
        Some(rest) => (number(rest.get(..2)?)?, rest.get(2..)?),
        None if rest.is_empty() => (0, rest),
        None => return None,
    };
    let micros = match fraction.strip_prefix(b".") {
        Some(digits) if (1..=6).contains(&digits.len()) => {
            number(digits)? * 10i64.pow(6 - u32::try_from(digits.len()).ok()?)
        }
        Some(_) => return None,
        None if fraction.is_empty() => 0,
        None => return None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some((hours * 3600 + minutes * 60 + seconds - zone_seconds(zone)?) * 1_000_000 + micros)
}

fn zone_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, rest) = match zone {
        [] | b"Z" | b"z" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *rest {
        [h0, h1] => (number(&[h0, h1])?, 0),
        [h0, h1, m0, m1] | [h0, h1, b':', m0, m1] => (number(&[h0, h1])?, number(&[m0, m1])?),
        _ => return None,
    };
    (hours <= 15 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::layout::{self, Compression};
    use crate::domain::source::Mapping;
    use proptest::prelude::*;

    struct Fields(Vec<Vec<u8>>, Vec<u8>);

    impl Fields {
        fn new(fields: Vec<Vec<u8>>) -> Self {
            let joined = fields.concat();
            Self(fields, joined)
        }
    }

    impl Record for Fields {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn get(&self, column: usize) -> Option<&[u8]> {
            self.0.get(column).map(Vec::as_slice)
        }
        fn bytes(&self) -> &[u8] {
            &self.1
        }
    }

    const MERCHANT: MerchantId = MerchantId(Uuid::from_u128(0xabc));

    fn parser(header: &str) -> RowParser {
        let text = format!("{header}\nx\n");
        let layout = layout::read(text.as_bytes(), true, Compression::None, &Mapping::new()).expect("layout");
        RowParser::new(&layout, MERCHANT)
    }

    fn outcome(header: &str, fields: &[&[u8]]) -> Result<String, RejectReason> {
        let record = Fields::new(fields.iter().map(|f| f.to_vec()).collect());
        parser(header).parse(&record).map(|row| format!("{row:?}")).map_err(|reject| reject.reason)
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
            "a character torn across two fields"
        );
    }

    #[test]
    fn reads_dates() {
        for (text, micros) in [
            ("1970-01-01", 0),
            ("1970-01-02T00:00Z", 86_400_000_000),
            ("1970-01-01 01:00:00+01:00", 0),
            ("1970-01-01T00:00:00.5-0030", 1_800_500_000),
            ("2026-11-20T12:34:56.123456", 1_795_178_096_123_456),
        ] {
            assert_eq!(date(text.as_bytes()), Some(micros), "{text}");
        }
        for bad in [
            "1970-1-1",
            "1970-01-01T",
            "1970-01-01T24:00",
            "1970-01-01T1:00",
            "19700101",
            "1970-01-01T00:00:00.",
            "1970-01-01T00:00+1",
            "0000-01-01",
            "1970-01-01x",
            "1970-01-01T00:00:60",
            "1970-01-01T00",
        ] {
            assert_eq!(date(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn points_are_what_an_i32_parser_says(text in "[+-]?[0-9]{0,12}|[ -~]{0,6}") {
            let strict = text.parse::<i32>().ok();
            prop_assert_eq!(points(text.as_bytes()), strict);
        }

        #[test]
        fn prices_keep_their_value(whole in 0u64..10_000_000_000, cents in 0u8..100, negative: bool) {
            let text = format!("{}{whole}.{cents:02}", if negative { "-" } else { "" });
            let expected = i64::try_from(whole).unwrap() * 100 + i64::from(cents);
            prop_assert_eq!(price(text.as_bytes()), Some(if negative { -expected } else { expected }));
        }

        #[test]
        fn date_times_agree_with_chrono(seconds in -62_000_000_000i64..250_000_000_000, micros in 0u32..1_000_000, zone in -14i32..15) {
            let zone = chrono::FixedOffset::east_opt(zone * 3600).unwrap();
            let time = chrono::DateTime::from_timestamp(seconds, micros * 1000).unwrap();
            let text = time.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string();
            prop_assert_eq!(date(text.as_bytes()), Some(time.timestamp_micros()), "{}", text);
        }

        #[test]
        fn any_bytes_give_a_row_or_a_reject(fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 1..9)) {
            let header = "code,serial,points,price,window_start,window_end,merchant_id";
            let record = Fields::new(fields.clone());
            if let Ok(row) = parser(header).parse(&record) {
                prop_assert_eq!(row.code.as_bytes(), fields[0].trim_ascii());
                prop_assert!(!row.code.is_empty() && !row.code.contains('\0'));
                prop_assert!(fields.len() <= 7);
            }
        }
    }
}
