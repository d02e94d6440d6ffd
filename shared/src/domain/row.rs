//! One record of a file as staging takes it: a row, or a reject with its reason. `csv/row.rs` has the rejects' wording.

/// Longest text in bytes.
pub const MAX_TEXT_BYTES: usize = 255;

/// Stable names of what is wrong with a record, as they stand in `import_rejects.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// It has no code.
    EmptyCode,
    /// A text is longer than 255 bytes.
    TooLong,
    /// Its points are not a 32-bit integer.
    InvalidPoints,
    /// Its price is not a decimal with a point, up to 10 digits and 2 decimals.
    InvalidPrice,
    /// A date is not ISO 8601.
    InvalidDate,
    /// Its merchant is not a UUID.
    InvalidMerchantId,
    /// Its merchant is another one.
    MerchantMismatch,
    /// It is not UTF-8.
    InvalidUtf8,
    /// It has a NUL byte.
    NulByte,
    /// A text has a control character.
    ControlCharacter,
    /// Its quotes break RFC 4180.
    MalformedQuotes,
    /// It has more fields than the header.
    ExtraFields,
}

impl RejectReason {
    /// The name as users see it.
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
            Self::ControlCharacter => "control_character",
            Self::MalformedQuotes => "malformed_quotes",
            Self::ExtraFields => "extra_fields",
        }
    }
}

/// A record that can't be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The rule that it breaks.
    pub reason: RejectReason,
    /// What was found, for a person: the field and the start of its value.
    pub detail: String,
}

/// A row of staging. Text is UTF-8 without NUL, 1 to 255 bytes; absent is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The code, trimmed.
    pub code: &'a str,
    /// `serial`.
    pub serial: Option<&'a str>,
    /// `sku`.
    pub sku: Option<&'a str>,
    /// `points`.
    pub points: Option<i32>,
    /// `sku_name`.
    pub sku_name: Option<&'a str>,
    /// `batch_code`.
    pub batch_code: Option<&'a str>,
    /// In hundredths.
    pub price: Option<i64>,
    /// Microseconds since 1970-01-01 UTC.
    pub window_start: Option<i64>,
    /// Microseconds since 1970-01-01 UTC.
    pub window_end: Option<i64>,
}
