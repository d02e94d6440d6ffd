//! Writing CSV by hand, where PostgreSQL doesn't: quoting (RFC 4180 section 2) and cells that are no formulas.

use std::borrow::Cow;

/// A field as it stands in a record with that delimiter.
pub fn quoted(field: &str, delimiter: u8) -> Cow<'_, str> {
    let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\r' | b'\n');
    if field.bytes().any(special) {
        Cow::Owned(format!("\"{}\"", field.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(field)
    }
}

/// A text that a spreadsheet would take for a formula gets a leading apostrophe (OWASP, "CSV Injection").
pub fn defused(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// One record with its line's end.
pub fn record<T: AsRef<str>>(fields: &[T], delimiter: u8) -> String {
    let fields: Vec<Cow<'_, str>> = fields.iter().map(|field| quoted(field.as_ref(), delimiter)).collect();
    let mut line = fields.join(&char::from(delimiter).to_string());
    // A record of one empty field would be a blank line.
    if line.is_empty() {
        line.push_str("\"\"");
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formulas_and_quotes() {
        for (text, safe) in [
            ("=1+1", "'=1+1"),
            ("-5", "'-5"),
            ("+49", "'+49"),
            ("@a", "'@a"),
            ("\tx", "'\tx"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(defused(text), safe);
        }
        assert_eq!(record(&["a", "b;c", "say \"no\""], b';'), "a;\"b;c\";\"say \"\"no\"\"\"\n");
        assert_eq!(record(&["a,b"], b';'), "a,b\n");
        assert_eq!(record(&[""], b','), "\"\"\n");
    }

    proptest! {
        #[test]
        fn reads_back(fields in proptest::collection::vec("[a-c,;\"\n\r =]{0,6}", 1..5), semicolon: bool) {
            let delimiter = if semicolon { b';' } else { b',' };
            let line = record(&fields, delimiter);
            let (mut seen, mut field, mut open) = (Vec::new(), String::new(), false);
            let body = line.strip_suffix('\n').expect("a line");
            let mut chars = body.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '"' if open && chars.peek() == Some(&'"') => { chars.next(); field.push('"'); }
                    '"' => open = !open,
                    c if !open && c == char::from(delimiter) => seen.push(std::mem::take(&mut field)),
                    c => field.push(c),
                }
            }
            seen.push(field);
            prop_assert_eq!(seen, fields);
        }
    }
}
