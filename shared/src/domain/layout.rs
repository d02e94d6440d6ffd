//! How one file is laid out: compression, delimiter, and which column holds which field.

use super::field::Field;
use serde::{Deserialize, Serialize};

/// Compression of the whole object, told by its first bytes, never by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Plain text.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Tells it by the first bytes (RFC 1952 section 2.3.1, RFC 8878 sections 3.1.1 and 3.1.2: a skippable frame may come
    /// first).
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What ends a record outside of quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnd {
    /// LF or CR LF. A CR elsewhere ends nothing.
    Lf,
    /// CR, LF or CR LF.
    Any,
}

/// One file's layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The compression of the whole object.
    pub compression: Compression,
    /// What separates the fields of a record.
    pub delimiter: u8,
    /// What ends a record, told by what ends the header.
    pub line_end: LineEnd,
    /// For each column of the header the field it holds; `None` is ignored.
    pub columns: Vec<Option<Field>>,
    /// The header's columns as they are written.
    pub header: Vec<String>,
    /// Those of them that hold no field, without what an export of rejects has added.
    pub unknown: Vec<String>,
    /// Fields of the file that an application's own table of codes has no column for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unstored: Vec<Field>,
    /// Triggers of the table of codes that have a part in every insert.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<String>,
    /// Foreign keys of the table of codes, which are looked up for every row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<String>,
    /// How dense its head is, if it was looked at.
    #[serde(default)]
    pub density: Option<Density>,
}

/// The table that codes are inserted into: the baseline's, or an application's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The fields that it has columns for.
    pub fields: Vec<Field>,
    /// Triggers that fire when codes are inserted, by name.
    pub triggers: Vec<String>,
    /// Its own foreign keys, by name.
    pub foreign_keys: Vec<String>,
}

/// What the first bytes of an object hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Density {
    /// The bytes, as they are stored.
    pub bytes: u64,
    /// Bytes of text in them.
    pub text: u64,
    /// Lines that are not blank in them.
    pub records: u64,
}

impl Layout {
    /// The column that holds a field.
    pub fn column(&self, field: Field) -> Option<usize> {
        self.columns.iter().position(|column| *column == Some(field))
    }

    /// The layout, with what becomes of the records in production.
    #[must_use]
    pub fn bound_for(mut self, destination: &Destination) -> Self {
        let Destination { fields, triggers, foreign_keys } = destination;
        self.unstored =
            self.columns.iter().flatten().copied().filter(|field| !fields.contains(field)).collect();
        self.triggers.clone_from(triggers);
        self.foreign_keys.clone_from(foreign_keys);
        self
    }
}
