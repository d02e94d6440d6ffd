//! PostgreSQL's binary COPY format (PostgreSQL documentation, COPY, "Binary Format").

use bytes::{BufMut, Bytes, BytesMut};
use std::marker::PhantomData;

/// What comes before the first row.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// 2000-01-01 in microseconds since 1970: PostgreSQL's epoch.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Rows on their way to one COPY. `R`: what a row is made of.
#[derive(Debug)]
pub struct BinaryBuffer<R> {
    bytes: BytesMut,
    rows: u64,
    of: PhantomData<R>,
}

impl<R> BinaryBuffer<R> {
    /// An empty buffer; `capacity` in bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(capacity);
        bytes.put_slice(HEADER);
        Self { bytes, rows: 0, of: PhantomData }
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many rows it holds.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Begins a row; as many values as it has columns must follow.
    pub(super) fn begin_row(&mut self, columns: i16) {
        self.bytes.put_i16(columns);
        self.rows += 1;
    }

    /// What COPY is sent; the buffer is empty afterwards.
    pub fn take(&mut self) -> Bytes {
        self.bytes.put_i16(-1);
        self.rows = 0;
        let full = self.bytes.split().freeze();
        self.bytes.reserve(full.len());
        self.bytes.put_slice(HEADER);
        full
    }

    fn put_null(&mut self) {
        self.bytes.put_i32(-1);
    }

    pub(super) fn put_i16(&mut self, value: i16) {
        self.bytes.put_i32(2);
        self.bytes.put_i16(value);
    }

    pub(super) fn put_i32(&mut self, value: Option<i32>) {
        match value {
            Some(value) => {
                self.bytes.put_i32(4);
                self.bytes.put_i32(value);
            }
            None => self.put_null(),
        }
    }

    pub(super) fn put_i64(&mut self, value: Option<i64>) {
        match value {
            Some(value) => {
                self.bytes.put_i32(8);
                self.bytes.put_i64(value);
            }
            None => self.put_null(),
        }
    }

    /// `timestamptz`, from microseconds since 1970.
    pub(super) fn put_time(&mut self, micros: Option<i64>) {
        self.put_i64(micros.map(|micros| micros - POSTGRES_EPOCH_MICROS));
    }

    /// `tid`: the block and the row's place in it.
    pub(super) fn put_tid(&mut self, place: Place) {
        self.bytes.put_i32(6);
        self.bytes.put_slice(&place.0);
    }

    pub(super) fn put_text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.put_bytes(text.as_bytes()),
            None => self.put_null(),
        }
    }

    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        // Texts are at most 255 bytes, raw records 8 KiB, keys 1 KiB.
        self.bytes.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.bytes.put_slice(bytes);
    }

    /// `numeric` with two decimals: base-10000 digits, weight of the first, sign, decimals
    /// (src/backend/utils/adt/numeric.c, numeric_recv).
    pub(super) fn put_price(&mut self, hundredths: Option<i64>) {
        let Some(hundredths) = hundredths else {
            self.put_null();
            return;
        };
        let magnitude = hundredths.unsigned_abs();
        let (whole, fraction) = (magnitude / 100, (magnitude % 100) * 100);
        let groups = [whole / 100_000_000, whole / 10_000 % 10_000, whole % 10_000, fraction];
        let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
        let last = groups.iter().rposition(|group| *group != 0).map_or(first, |i| i + 1);
        let digits = &groups[first..last.max(first)];
        let out = &mut self.bytes;
        out.put_i32(8 + 2 * i32::try_from(digits.len()).unwrap_or(0));
        out.put_i16(i16::try_from(digits.len()).unwrap_or(0));
        out.put_i16(if digits.is_empty() { 0 } else { 2 - i16::try_from(first).unwrap_or(0) });
        out.put_u16(if hundredths < 0 { 0x4000 } else { 0 });
        out.put_i16(2);
        for digit in digits {
            out.put_i16(i16::try_from(*digit).unwrap_or(0));
        }
    }
}

/// Where a row lies in its table: a `tid` as the server sends it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place([u8; 6]);

/// The values of one row, in the order of its columns.
#[derive(Debug)]
pub(super) struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// Whether a message has a row: the trailer has -1 for the number of columns.
    pub(super) fn has_row(message: &[u8]) -> bool {
        message.first_chunk().is_some_and(|columns| i16::from_be_bytes(*columns) >= 0)
    }

    /// Those of a message that has a row.
    pub(super) fn of_row(message: &'a [u8]) -> Self {
        Self(message.get(2..).unwrap_or_default())
    }

    /// The bytes of the next value; `None`: it is NULL, or there is none.
    pub(super) fn take(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let value = usize::try_from(i32::from_be_bytes(*length)).ok().and_then(|length| rest.get(..length));
        self.0 = rest.get(value.map_or(0, <[u8]>::len)..)?;
        value
    }

    /// A `bigint`.
    pub(super) fn take_i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take()?.try_into().ok()?))
    }

    /// A `tid`.
    pub(super) fn take_tid(&mut self) -> Option<Place> {
        Some(Place(self.take()?.try_into().ok()?))
    }
}
