//! Reads what `POST /uploads` answers: the links of a file, and what its requests must send besides.

use crate::words;
use serde_json::Value;

/// The links of an upload, each with the offset and the size of its piece.
pub(crate) fn pieces(declared: &Value, size: u64) -> Vec<(String, u64, u64)> {
    let Some(parts) = declared["parts"].as_array() else {
        return vec![(words::text(declared, "/url").to_owned(), 0, size)];
    };
    let mut offset = 0;
    parts
        .iter()
        .map(|part| {
            let size = part["size"].as_u64().unwrap_or_default();
            let piece = (words::text(part, "/url").to_owned(), offset, size);
            offset += size;
            piece
        })
        .collect()
}

/// The headers that are signed, names and values. Parts have none.
pub(crate) fn headers(declared: &Value) -> Vec<(String, String)> {
    let headers = declared["headers"].as_object().into_iter().flatten();
    headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_follow_each_other_without_gaps() {
        let parts = json!({ "parts": [{ "url": "u1", "size": 8 }, { "url": "u2", "size": 3 }] });
        assert_eq!(pieces(&parts, 11), [("u1".into(), 0, 8), ("u2".into(), 8, 3)]);
        assert_eq!(headers(&parts), []);
        let whole = json!({ "url": "u", "headers": { "if-none-match": "*" } });
        assert_eq!(pieces(&whole, 7), [("u".into(), 0, 7)]);
        assert_eq!(headers(&whole), [("if-none-match".into(), "*".into())]);
    }
}
