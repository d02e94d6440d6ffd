//! The `Idempotency-Key` header (IETF draft-ietf-httpapi-idempotency-key-header-07), bare or as an RFC 8941 string.

use thiserror::Error;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// A client's name for one intent: 1 to 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Why a header holds no key. `Display` is for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is nothing in it.
    #[error("Idempotency key is empty")]
    Empty,
    /// It has more characters than allowed.
    #[error("Idempotency key too long: {0} characters; at most {MAX_KEY_BYTES}")]
    TooLong(usize),
    /// It has a character that is not printable ASCII.
    #[error("Idempotency key holds a character that is not printable ASCII")]
    Character,
    /// It begins as a quoted string and is none.
    #[error(
        "Idempotency key begins with a quotation mark but is not a quoted string: only \\\" and \\\\ may be escaped, and nothing may follow the closing mark"
    )]
    Quoting,
    /// It is a list of keys that differ.
    #[error(
        "There is more than one Idempotency-Key; send one, and put a key that holds a comma in quotation marks"
    )]
    Several,
}

impl IdempotencyKey {
    /// Reads the header's value. `"k"` and `k` are the same key. A header that was sent twice arrives as a list (RFC 9110,
    /// section 5.3): the same key again is one key, and a comma belongs in quotes.
    pub fn parse(header: &[u8]) -> Result<Self, KeyError> {
        let mut members = split_list(header).into_iter();
        let key = Self::parse_member(members.next().unwrap_or_default())?;
        for member in members {
            if Self::parse_member(member)? != key {
                return Err(KeyError::Several);
            }
        }
        Ok(key)
    }

    fn parse_member(member: &[u8]) -> Result<Self, KeyError> {
        let member = member.trim_ascii();
        let key = match member.strip_prefix(b"\"") {
            Some(rest) => unquote(rest)?,
            None => member.to_vec(),
        };
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        if !key.iter().all(|byte| (0x20..=0x7e).contains(byte)) {
            return Err(KeyError::Character);
        }
        if key.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong(key.len()));
        }
        String::from_utf8(key).map(Self).map_err(|_| KeyError::Character)
    }

    /// The key without quotation marks.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The members of a list: commas part them, except within a quoted string.
fn split_list(header: &[u8]) -> Vec<&[u8]> {
    let (mut members, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in header.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            // A mark within a bare key is a character like any other.
            b'"' => is_quoted = !is_quoted && header[start..at].trim_ascii().is_empty(),
            b',' if !is_quoted => {
                members.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&header[start..]);
    members
}

/// What follows the opening mark (RFC 8941, section 3.3.3).
fn unquote(rest: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut key = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(*escaped),
                _ => return Err(KeyError::Quoting),
            },
            b'"' if bytes.as_slice().is_empty() => return Ok(key),
            b'"' => return Err(KeyError::Quoting),
            other => key.push(*other),
        }
    }
    Err(KeyError::Quoting)
}
