//! The ten faults of a record, each with the reason that an import records.

use serde::{Deserialize, Serialize};

use super::layout::{Field, Layout};

/// A fault for which an import must reject a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
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

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::EmptyCode,
        Self::TooLong,
        Self::InvalidPoints,
        Self::InvalidPrice,
        Self::InvalidDate,
        Self::InvalidMerchantId,
        Self::MerchantMismatch,
        Self::InvalidUtf8,
        Self::NulByte,
        Self::ExtraFields,
    ];

    /// The reason that an import records.
    pub fn reason(self) -> &'static str {
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

    /// Whether a file of this layout can have the fault. With a single column, a record with an empty code is blank.
    pub(super) fn fits(self, layout: &Layout) -> bool {
        match self {
            Self::EmptyCode => layout.columns.len() > 1,
            Self::InvalidPoints => layout.has(Field::Points),
            Self::InvalidPrice => layout.has(Field::Price),
            Self::InvalidDate => layout.has(Field::WindowStart) || layout.has(Field::WindowEnd),
            Self::InvalidMerchantId | Self::MerchantMismatch => layout.has(Field::MerchantId),
            Self::TooLong | Self::InvalidUtf8 | Self::NulByte | Self::ExtraFields => true,
        }
    }
}

/// Invalid values that resemble numbers, dates or ids.
pub(super) const POINTS: &[&str] = &["1e5", "1,5", "2147483648", "12.5", "ten", "0x10"];
pub(super) const PRICES: &[&str] = &["1,50", "1e5", "9.999", "12345678901.00", "free", "NaN"];
pub(super) const DATES: &[&str] =
    &["2026-02-30", "31/12/2026", "2026-13-01", "tomorrow", "2026-01-01T25:00:00Z", "01.02.2026"];
pub(super) const MERCHANTS: &[&str] = &["not-a-uuid", "42", "11111111-1111-4111-8111-11111111111g"];
