//! The fields of a promotional code, and the headers that stand for them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `target field -> source header`, as the caller wrote it. Sorted, so that equal mappings hash equally.
pub type Mapping = BTreeMap<String, String>;

/// The fields that an import knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The code itself.
    Code,
    /// A serial number.
    Serial,
    /// A stock keeping unit.
    Sku,
    /// Points of a loyalty programme.
    Points,
    /// The name of the product.
    SkuName,
    /// The batch that the code was printed in.
    BatchCode,
    /// A price.
    Price,
    /// From when the code may be claimed.
    WindowStart,
    /// Until when the code may be claimed.
    WindowEnd,
    /// Whose code it is; it must be the merchant of the import.
    MerchantId,
}

impl Field {
    /// Every field, in the order that exports write them.
    pub const ALL: [Self; 10] = [
        Self::Code,
        Self::Serial,
        Self::Sku,
        Self::Points,
        Self::SkuName,
        Self::BatchCode,
        Self::Price,
        Self::WindowStart,
        Self::WindowEnd,
        Self::MerchantId,
    ];

    /// Every field's name, in the order of `ALL`.
    pub const NAMES: [&'static str; Self::ALL.len()] = {
        let mut names = [""; Self::ALL.len()];
        let mut i = 0;
        while i < names.len() {
            names[i] = Self::ALL[i].as_str();
            i += 1;
        }
        names
    };

    /// The field's name: its column in staging and in production.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Serial => "serial",
            Self::Sku => "sku",
            Self::Points => "points",
            Self::SkuName => "sku_name",
            Self::BatchCode => "batch_code",
            Self::Price => "price",
            Self::WindowStart => "window_start",
            Self::WindowEnd => "window_end",
            Self::MerchantId => "merchant_id",
        }
    }

    /// The field of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }

    /// The field that a header stands for: its name or an alias, whatever the case and the spaces.
    pub fn by_header(header: &str) -> Option<Self> {
        let folded = fold(header);
        let alias = match folded.as_str() {
            "batchid" => Some(Self::BatchCode),
            "serialnumber" => Some(Self::Serial),
            "productname" => Some(Self::SkuName),
            _ => None,
        };
        alias.or_else(|| Self::ALL.into_iter().find(|field| fold(field.as_str()) == folded))
    }
}

/// The columns that an export of rejects adds to those of the files. An import passes over them.
pub const REJECT_COLUMNS: [&str; 6] = [
    "onceload_file",
    "onceload_record",
    "onceload_line",
    "onceload_reason",
    "onceload_detail",
    "onceload_raw",
];

/// Case and space insensitive: `Batch Code`, `batch_code` and `BATCHCODE` are one header.
pub fn fold(header: &str) -> String {
    fold_case(header.chars().filter(|c| !c.is_whitespace() && *c != '_'))
}

/// Folds letter by letter, by way of the capital: a final sigma, a long s and a sharp s are what their capitals are.
pub fn fold_case(text: impl Iterator<Item = char>) -> String {
    text.flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The mapping as it is compared: two that mean the same headers are equal.
pub fn canonical(mapping: &Mapping) -> Mapping {
    mapping.iter().map(|(field, header)| (field.clone(), fold(header))).collect()
}
