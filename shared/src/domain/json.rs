//! JSON at the doors: a byte order mark is passed over, an encoding that is none of ours is named, and a member that stands
//! twice is refused instead of one of the two being dropped.

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::fmt;
use thiserror::Error;

/// Why a text is no JSON that we take. `Display` is for the person who sent it.
#[derive(Debug, Error)]
pub enum JsonError {
    /// Its text is UTF-16.
    #[error("it is UTF-16 text; save it as UTF-8")]
    Utf16,
    /// It is compressed.
    #[error("it is compressed with gzip; send it uncompressed")]
    Gzip,
    /// It is no JSON.
    #[error("it is not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// An object names a member twice.
    #[error(transparent)]
    Repeated(#[from] Repeated),
}

/// An object names this member twice. Nested members have their path, with dots.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("member `{0}` stands there twice; keep one")]
pub struct Repeated(String);

/// Reads a whole text.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let text = match text {
        [0xef, 0xbb, 0xbf, text @ ..] => text,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => return Err(JsonError::Utf16),
        [0x1f, 0x8b, ..] => return Err(JsonError::Gzip),
        text => text,
    };
    Ok(serde_json::from_slice::<Document>(text)?.into_value()?)
}

/// Where a document holds the character U+0000, which PostgreSQL can't store: a JSON pointer (RFC 6901).
pub fn find_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| Some(format!("/{index}{}", find_nul(item)?)))
        }
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let rest = if name.contains('\0') { Some(String::new()) } else { find_nul(value) };
            Some(format!("/{}{}", escape_pointer(name), rest?))
        }),
        _ => None,
    }
}

/// A member's name as a part of a JSON pointer (RFC 6901). U+0000 is spelled out: a pointer is shown and logged.
pub fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1").replace('\0', "\\u0000")
}

/// A document as it was sent. Reading it never fails for a repeated member, so that a runtime which reads it for us can
/// hand the error on.
#[derive(Debug)]
pub struct Document {
    value: Value,
    repeated: Option<Repeated>,
}

impl Document {
    /// The document, or the first member that stands twice.
    pub fn into_value(self) -> Result<Value, Repeated> {
        self.repeated.map_or(Ok(self.value), Err)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut repeated = None;
        let value = Reader { path: "", repeated: &mut repeated }.deserialize(deserializer)?;
        Ok(Self { value, repeated })
    }
}

/// Reads one value. serde_json's own reader keeps the last of two members.
struct Reader<'a> {
    /// Names of the members around it.
    path: &'a str,
    repeated: &'a mut Option<Repeated>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(Reader { path: self.path, repeated: &mut *self.repeated })?
        {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let path = match self.path {
                "" => name.clone(),
                outer => format!("{outer}.{name}"),
            };
            let value = members.next_value_seed(Reader { path: &path, repeated: &mut *self.repeated })?;
            if object.insert(name, value).is_some() {
                self.repeated.get_or_insert(Repeated(path));
            }
        }
        Ok(Value::Object(object))
    }
}
