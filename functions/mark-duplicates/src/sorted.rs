//! The codes of a chunk in memory: 32 bytes a row and the text of its code, sorted by code and, where one is repeated, by the rows'
//! places in the job.

use shared::db::staging::compare::{Place, StagedCode};

/// What the codes of a chunk may take; the duplicates that are found take up to as much again. In bytes.
const BUDGET: usize = 96 * 1024 * 1024;

/// A row: where it lies, and where its code is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// The bytes of the code that tell it from others first, so that most comparisons need nothing else.
    head: u64,
    pub(crate) row_number: i64,
    offset: u32,
    length: u16,
    pub(crate) place: Place,
}

/// The codes of rows, one after the other.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    /// How many bytes all codes begin with.
    common: usize,
}

impl Text {
    fn code(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.offset as usize..][..usize::from(entry.length)]
    }

    /// The first eight bytes of a code after the common ones, as a number that compares like them. Texts of PostgreSQL hold no zero
    /// byte, so zeros after the end come before all else.
    fn head(&self, entry: &Entry) -> u64 {
        let bytes = self.code(entry).get(self.common..).unwrap_or_default();
        let mut head = [0; 8];
        let length = bytes.len().min(8);
        head[..length].copy_from_slice(&bytes[..length]);
        u64::from_be_bytes(head)
    }

    /// What follows the head.
    fn rest(&self, entry: &Entry) -> &[u8] {
        self.code(entry).get(self.common + 8..).unwrap_or_default()
    }
}

/// Rows as they come.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    entries: Vec<Entry>,
    text: Text,
}

impl Codes {
    /// Room for so many rows, if they are not too many to hold.
    pub(crate) fn with_capacity(rows: i64) -> Option<Self> {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let fits = rows.saturating_mul(size_of::<Entry>()) <= BUDGET;
        fits.then(|| Self { entries: Vec::with_capacity(rows), ..Self::default() })
    }

    /// Whether they are more than may be held.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() * size_of::<Entry>() + self.text.bytes.len() > BUDGET
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: StagedCode<'_>) {
        let text = &mut self.text;
        text.common = match self.entries.first() {
            None => row.code.len(),
            Some(_) => {
                // The first code begins the text.
                let common = text.bytes.iter().zip(row.code).take(text.common);
                common.take_while(|(a, b)| a == b).count()
            }
        };
        // Both fit: a code has 255 bytes at most, and the text keeps to the budget.
        let (offset, length) = (text.bytes.len() as u32, row.code.len() as u16);
        text.bytes.extend_from_slice(row.code);
        self.entries.push(Entry { head: 0, row_number: row.row_number, offset, length, place: row.place });
    }

    /// Sorts them.
    pub(crate) fn sort(self) -> Sorted {
        let Self { mut entries, text } = self;
        for entry in &mut entries {
            entry.head = text.head(entry);
        }
        entries.sort_unstable_by(|a, b| {
            let by_code = a.head.cmp(&b.head).then_with(|| text.rest(a).cmp(text.rest(b)));
            by_code.then(a.row_number.cmp(&b.row_number))
        });
        Sorted { entries, text }
    }
}

/// Rows in order of code.
#[derive(Debug)]
pub(crate) struct Sorted {
    entries: Vec<Entry>,
    text: Text,
}

impl Sorted {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The code of the row at this index.
    pub(crate) fn code(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).map(|entry| self.text.code(entry))
    }

    /// The rows with the same code, from this index on; in order of their places in the job.
    pub(crate) fn same(&self, index: usize) -> &[Entry] {
        let rows = self.entries.get(index..).unwrap_or_default();
        let Some(first) = rows.first() else { return rows };
        let rest = self.text.rest(first);
        let same = rows.iter().take_while(|row| row.head == first.head && self.text.rest(row) == rest);
        &rows[..same.count()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sort(codes: &[String]) -> Sorted {
        let mut rows = Codes::with_capacity(8).expect("room");
        for (row_number, code) in (1..).zip(codes) {
            rows.push(StagedCode { row_number, place: Place::default(), code: code.as_bytes() });
        }
        rows.sort()
    }

    proptest! {
        /// Codes of few characters, so that they are repeated and begin alike, also beyond the eight bytes that are compared first.
        #[test]
        fn rows_are_in_order_of_code_and_place(
            prefix in "[AÄ-]{0,12}",
            tails in prop::collection::vec("[ABß]{0,12}", 1..60),
        ) {
            let codes: Vec<String> = tails.iter().map(|tail| format!("{prefix}{tail}")).collect();
            let mut expected: Vec<(&[u8], i64)> = codes.iter().map(|code| code.as_bytes()).zip(1..).collect();
            expected.sort_unstable();
            let sorted = sort(&codes);
            let mut found: Vec<(&[u8], i64)> = Vec::new();
            while let Some(code) = sorted.code(found.len()) {
                let same = sorted.same(found.len());
                found.extend(same.iter().map(|row| (code, row.row_number)));
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_too_large_to_hold_is_not_held() {
        assert!(Codes::with_capacity(i64::MAX).is_none());
        let mut codes = Codes::with_capacity(0).expect("room");
        let row = StagedCode { row_number: 1, place: Place::default(), code: &[b'A'; 255] };
        while !codes.is_full() {
            codes.push(row);
        }
        let held = codes.entries.len() * size_of::<Entry>() + codes.text.bytes.len();
        assert!((BUDGET..BUDGET + 1024).contains(&held), "{held}");
    }
}
