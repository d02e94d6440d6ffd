//! Object keys: the merchant that they belong to, and their form. They are checked at every door, and again when a listing
//! returns them.

use super::ids::MerchantId;
use thiserror::Error;
use uuid::Uuid;

/// The longest key of S3 (Amazon S3 User Guide, "Naming Amazon S3 objects").
pub const MAX_KEY_BYTES: usize = 1024;
const ROOTS: [&str; 3] = ["import", "stage", "uploads"];

/// Why a key or prefix is refused. `Display` is for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the members are what the messages show")]
pub enum KeyError {
    /// It does not begin with a root and the merchant.
    #[error("key_outside_merchant: `{key}` must begin with import/, stage/ or uploads/, then {merchant}/")]
    OutsideMerchant { key: String, merchant: MerchantId },
    /// It has an empty, `.` or `..` segment.
    #[error("key_outside_merchant: `{key}` holds an empty, `.` or `..` segment")]
    Segment { key: String },
    /// It has a control character.
    #[error("key_outside_merchant: a key holds a control character: {key:?}")]
    Control { key: String },
    /// It is longer than S3 allows.
    #[error("key_outside_merchant: a key is longer than {MAX_KEY_BYTES} bytes: `{start}...`")]
    TooLong { start: String },
    /// It is a folder.
    #[error("not_csv: `{key}` is a folder; name its files, or give it as `prefix`")]
    Folder { key: String },
}

/// Checks one object key of a merchant.
pub fn check_key(merchant: MerchantId, key: &str) -> Result<(), KeyError> {
    check_characters(key)?;
    let rest = after_merchant(merchant, key)?;
    if key.ends_with('/') || rest.is_empty() {
        return Err(KeyError::Folder { key: key.to_owned() });
    }
    check_segments(key, rest)
}

/// Checks a prefix: the same, but it may end in a slash and may stop within a name.
pub fn check_prefix(merchant: MerchantId, prefix: &str) -> Result<(), KeyError> {
    check_characters(prefix)?;
    let rest = after_merchant(merchant, prefix)?;
    if rest.is_empty() { Ok(()) } else { check_segments(prefix, rest.strip_suffix('/').unwrap_or(rest)) }
}

/// The merchant that an uploaded key means by its second segment, in whatever form of a UUID. Whether the key is theirs,
/// `check_key` says.
pub fn merchant_of(key: &str) -> Option<MerchantId> {
    Uuid::try_parse(key.split('/').nth(1)?).ok().map(MerchantId)
}

fn check_characters(key: &str) -> Result<(), KeyError> {
    if key.len() > MAX_KEY_BYTES {
        let start = key.chars().take(80).collect();
        return Err(KeyError::TooLong { start });
    }
    if key.chars().any(char::is_control) {
        return Err(KeyError::Control { key: key.to_owned() });
    }
    Ok(())
}

fn after_merchant(merchant: MerchantId, key: &str) -> Result<&str, KeyError> {
    let outside = || KeyError::OutsideMerchant { key: key.to_owned(), merchant };
    let (root, rest) = key.split_once('/').ok_or_else(outside)?;
    if !ROOTS.contains(&root) {
        return Err(outside());
    }
    rest.strip_prefix(&merchant.to_string()).and_then(|rest| rest.strip_prefix('/')).ok_or_else(outside)
}

fn check_segments(key: &str, rest: &str) -> Result<(), KeyError> {
    if rest.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(KeyError::Segment { key: key.to_owned() });
    }
    Ok(())
}
