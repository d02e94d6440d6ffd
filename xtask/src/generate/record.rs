//! Writes the records of one file in its layout.

use super::codes::Codes;
use super::faults::{self, Fault};
use super::layout::{Dates, Field, Layout};
use super::random::Random;

/// The number of days in 2026 and 2027, in which all windows lie.
const DAYS: usize = 730;

const SKUS: &[&str] =
    &["COLA-05", "COLA-15", "LEMON-05", "WATER-15", "TEA-033", "MATE-05", "JUICE-1", "BAR-40G"];
const PRICES: &[&str] = &["1.99", "0.5", "12.00", "4", "249.90", "0", "7.25", "9999999999.99"];
const POINTS: &[&str] = &["10", "25", "50", "100", "5", "250", "1000", "2147483647"];
const BATCHES: &[&str] =
    &["B2026-01", "B2026-02", "B2026-03", "B2026-04", "SPRING", "SUMMER", "AUTUMN", "WINTER"];
const REGIONS: &[&str] = &["north", "south", "east", "west"];
const NAMES: &[&str] =
    &["Cola 0.5 l", "Cola 1.5 l", "Lemonade", "Still water", "Iced tea", "Mate", "Apple juice", "Cereal bar"];
/// Names with delimiters, quotes, line ends and other difficult characters.
const MESSY_NAMES: &[&str] = &[
    "Crème brûlée, 2 pcs",
    "12\" pizza \"Diavola\"; hot",
    "Gift set:\n1 mug\n2 coasters",
    "日本茶 | 緑茶",
    "tab\there",
    "line end\r\nof the other kind",
    "\"\"",
    "#1 seller",
    "  padded  ",
    "=1+2",
];

/// Every day of 2026 and 2027 as text.
pub(super) struct Days(Vec<[u8; 10]>);

impl Days {
    pub(super) fn new() -> Self {
        let mut all = Vec::with_capacity(DAYS);
        for year in ["2026", "2027"] {
            for (month, days) in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
                for day in 1..=days {
                    let mut text = [0; 10];
                    text.copy_from_slice(format!("{year}-{:02}-{day:02}", month + 1).as_bytes());
                    all.push(text);
                }
            }
        }
        Self(all)
    }
}

/// Writes the records of one file.
pub(super) struct RecordWriter<'a> {
    layout: &'a Layout,
    codes: &'a Codes,
    days: &'a Days,
    random: Random,
    merchant: Vec<u8>,
    other_merchant: Vec<u8>,
    always_filled: bool,
    value: Vec<u8>,
    serial: u64,
}

impl<'a> RecordWriter<'a> {
    pub(super) fn new(
        layout: &'a Layout,
        codes: &'a Codes,
        days: &'a Days,
        merchant_id: &str,
        random: Random,
    ) -> Self {
        let mut merchant = merchant_id.as_bytes().to_vec();
        let mut other_merchant = merchant.clone();
        other_merchant[0] = if other_merchant[0] == b'a' { b'b' } else { b'a' };
        if layout.merchant_in_capitals {
            merchant.make_ascii_uppercase();
        }
        Self {
            layout,
            codes,
            days,
            random,
            merchant,
            other_merchant,
            always_filled: !layout.messy,
            value: Vec::with_capacity(512),
            serial: 0,
        }
    }

    /// Writes the header with its line end.
    pub(super) fn write_header(&self, out: &mut Vec<u8>) {
        if self.layout.bom {
            out.extend_from_slice(b"\xEF\xBB\xBF");
        }
        for (i, column) in self.layout.columns.iter().enumerate() {
            if i > 0 {
                out.push(self.layout.delimiter);
            }
            push_field(out, column.name.as_bytes(), self.layout);
        }
        out.extend_from_slice(self.layout.line_end());
    }

    /// Writes a record without a fault, up to its line end.
    pub(super) fn write_staged(&mut self, index: u64, out: &mut Vec<u8>) {
        let columns = &self.layout.columns;
        let mut until = columns.len();
        if self.layout.short_records && self.random.one_in(4) {
            let code = columns.iter().position(|column| column.field == Field::Code).unwrap_or(0);
            until = code + 1 + self.random.below((columns.len() - code) as u64) as usize;
        }
        self.serial += 1;
        let dice = self.random.next();
        for (i, column) in columns[..until].iter().enumerate() {
            if i > 0 {
                out.push(self.layout.delimiter);
            }
            self.push_value(column.field, index, dice.rotate_left(5 * i as u32), out);
        }
    }

    /// Writes a record with exactly one fault, up to its line end.
    pub(super) fn write_rejected(&mut self, index: u64, fault: Fault, out: &mut Vec<u8>) {
        let layout = self.layout;
        let at = self.pick_column(fault);
        // Empty values could make the record blank or break a second rule.
        let was = std::mem::replace(&mut self.always_filled, true);
        self.serial += 1;
        let dice = self.random.next();
        for (i, column) in layout.columns.iter().enumerate() {
            if i > 0 {
                out.push(layout.delimiter);
            }
            if i == at {
                self.value.clear();
                self.fill_invalid_value(fault, column.field);
                push_field(out, &self.value, layout);
            } else {
                self.push_value(column.field, index, dice.rotate_left(5 * i as u32), out);
            }
        }
        if fault == Fault::ExtraFields {
            out.push(layout.delimiter);
            push_field(out, b"surplus", layout);
        }
        self.always_filled = was;
    }

    /// Writes an empty record, up to its line end. Returns whether it is a blank line.
    pub(super) fn write_skipped(&mut self, out: &mut Vec<u8>) -> bool {
        let blank = self.layout.columns.len() == 1 || self.random.one_in(2);
        if !blank {
            out.extend(std::iter::repeat_n(self.layout.delimiter, self.layout.columns.len() - 1));
        }
        blank
    }

    /// Picks the column of the fault. An extra field needs none, so it gets an index beyond all columns.
    fn pick_column(&mut self, fault: Fault) -> usize {
        let columns = &self.layout.columns;
        let find = |field| columns.iter().position(|column| column.field == field);
        let code = find(Field::Code).unwrap_or(0);
        let text = [Field::SkuName, Field::Serial, Field::Sku, Field::BatchCode]
            .into_iter()
            .find_map(find)
            .filter(|_| self.random.one_in(2));
        match fault {
            Fault::EmptyCode => code,
            Fault::TooLong | Fault::InvalidUtf8 | Fault::NulByte => text.unwrap_or(code),
            Fault::InvalidPoints => find(Field::Points).unwrap_or(code),
            Fault::InvalidPrice => find(Field::Price).unwrap_or(code),
            Fault::InvalidDate => {
                let (start, end) = (find(Field::WindowStart), find(Field::WindowEnd));
                if self.random.one_in(2) { start.or(end) } else { end.or(start) }.unwrap_or(code)
            }
            Fault::InvalidMerchantId | Fault::MerchantMismatch => find(Field::MerchantId).unwrap_or(code),
            Fault::ExtraFields => usize::MAX,
        }
    }

    fn fill_invalid_value(&mut self, fault: Fault, field: Field) {
        let random = &mut self.random;
        let value = &mut self.value;
        match fault {
            // A code of white space only is empty, too.
            Fault::EmptyCode => value.extend_from_slice(random.pick(&["", "  ", "", " "]).as_bytes()),
            // 256 bytes, as 128 characters of two bytes or as 256 characters.
            Fault::TooLong if random.one_in(2) => {
                value.extend(std::iter::repeat_n("É", 128).flat_map(str::bytes))
            }
            Fault::TooLong => value.extend(std::iter::repeat_n(b'L', 256)),
            Fault::InvalidPoints => value.extend_from_slice(random.pick(faults::POINTS).as_bytes()),
            Fault::InvalidPrice => value.extend_from_slice(random.pick(faults::PRICES).as_bytes()),
            Fault::InvalidDate => value.extend_from_slice(random.pick(faults::DATES).as_bytes()),
            Fault::InvalidMerchantId => value.extend_from_slice(random.pick(faults::MERCHANTS).as_bytes()),
            Fault::MerchantMismatch => value.extend_from_slice(&self.other_merchant),
            // A truncated sequence, or Latin-1.
            Fault::InvalidUtf8 if field == Field::Code => value.extend_from_slice(b"CUT\xE2\x82"),
            Fault::InvalidUtf8 => value.extend_from_slice(b"Cr\xE8me br\xFBl\xE9e"),
            Fault::NulByte => value.extend_from_slice(b"NUL\0BYTE"),
            Fault::ExtraFields => {}
        }
    }

    fn push_value(&mut self, field: Field, index: u64, dice: u64, out: &mut Vec<u8>) {
        let layout = self.layout;
        let eight = (dice >> 16) as usize & 7;
        let empty = !self.always_filled && (dice >> 24) & 31 == 0;
        match field {
            Field::Code => {
                self.value.clear();
                let padded = !self.always_filled && (dice >> 24) & 63 == 1;
                if padded {
                    self.value.extend_from_slice(b"  ");
                }
                self.codes.append(index, &mut self.value);
                if padded {
                    self.value.push(b' ');
                }
                push_field(out, &self.value, layout);
            }
            Field::MerchantId => push_simple(out, &self.merchant, layout),
            _ if empty => push_simple(out, b"", layout),
            Field::Serial => {
                let mut text = *b"S000000000";
                let mut rest = self.serial;
                for digit in text[1..].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
                push_simple(out, &text, layout);
            }
            Field::Sku => push_simple(out, SKUS[eight].as_bytes(), layout),
            Field::Points => push_simple(out, POINTS[eight].as_bytes(), layout),
            Field::Price => push_simple(out, PRICES[eight].as_bytes(), layout),
            Field::BatchCode => push_simple(out, BATCHES[eight].as_bytes(), layout),
            Field::Unknown => push_simple(out, REGIONS[eight & 3].as_bytes(), layout),
            Field::SkuName if layout.messy && (dice >> 32) & 15 == 0 => {
                let name = MESSY_NAMES[(dice >> 40) as usize % MESSY_NAMES.len()];
                push_field(out, name.as_bytes(), layout);
            }
            Field::SkuName => push_simple(out, NAMES[eight].as_bytes(), layout),
            Field::WindowStart | Field::WindowEnd => {
                let length = if field == Field::WindowEnd { 180 } else { 0 };
                let day = &self.days.0[(dice as usize % (DAYS - 180)) + length];
                let mut text = [0_u8; 32];
                text[..10].copy_from_slice(day);
                let time: &[u8] = match layout.dates {
                    Dates::Day => b"",
                    Dates::Either if eight < 4 => b"",
                    Dates::Either | Dates::Time => TIMES[(dice >> 40) as usize % TIMES.len()],
                };
                text[10..10 + time.len()].copy_from_slice(time);
                push_simple(out, &text[..10 + time.len()], layout);
            }
        }
    }
}

/// Times in formats of ISO 8601. A time without an offset is in UTC.
const TIMES: &[&[u8]] =
    &[b"T00:00:00Z", b"T08:30:00", b"T23:59:59Z", b"T12:00:00+02:00", b"T18:45:00-05:30", b"T06:00:00.500Z"];

/// Writes a value without delimiters, quotes and line ends.
fn push_simple(out: &mut Vec<u8>, value: &[u8], layout: &Layout) {
    if layout.quote_all {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    } else {
        out.extend_from_slice(value);
    }
}

/// Writes a value with quotes if it needs them, and with inner quotes doubled (RFC 4180).
fn push_field(out: &mut Vec<u8>, value: &[u8], layout: &Layout) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\r' | b'\n') || *byte == layout.delimiter;
    if !layout.quote_all && !value.iter().any(special) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &byte in value {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
