//! Writes CSV where PostgreSQL doesn't: quoting (RFC 4180 section 2), and cells that a spreadsheet takes for text.

use std::borrow::Cow;

/// Quotes a field, if it must be quoted in a record with this delimiter.
pub fn quote(field: &str, delimiter: u8) -> Cow<'_, str> {
    let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\r' | b'\n');
    if field.bytes().any(special) {
        Cow::Owned(format!("\"{}\"", field.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(field)
    }
}

/// Gives a text that a spreadsheet would take for a formula a leading apostrophe (OWASP, "CSV Injection").
pub fn defuse(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a character is not seen, or acts on those beside it: formats (Unicode's category Cf), spaces other than U+0020,
/// fillers and variation selectors.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{115f}' | '\u{1160}' | '\u{1680}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text of a file as a message shows it: what can't be seen, or would act on a terminal, is spelled out.
pub fn show_invisible(text: &str) -> String {
    show_within(text, usize::MAX)
}

/// The same, and no longer than so many bytes.
pub fn show_within(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        let before = shown.len();
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_unicode())
        } else {
            shown.push(c)
        }
        if shown.len() > limit {
            shown.truncate(before);
            break;
        }
    }
    shown
}

/// Writes one record with the end of its line.
pub fn write_record<T: AsRef<str>>(fields: &[T], delimiter: u8) -> String {
    let fields: Vec<Cow<'_, str>> = fields.iter().map(|field| quote(field.as_ref(), delimiter)).collect();
    let mut line = fields.join(&char::from(delimiter).to_string());
    // A record of one empty field would be a blank line.
    if line.is_empty() {
        line.push_str("\"\"");
    }
    line.push('\n');
    line
}
