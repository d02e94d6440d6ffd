//! Spells out what would act on a terminal. Names, codes and messages come from files and from the service, so that none of
//! them may move the cursor, change a title or turn the line around (CWE-150).

use std::fmt::Write;

/// Control characters (C0, DEL, C1), line separators, and what changes the direction of a text or is not seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn spell_out(text: &str, acts: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

/// A part of a line: a line end is spelled out, too.
pub(crate) fn part(text: &str) -> String {
    spell_out(text, acts)
}

/// Several lines.
pub(crate) fn lines(text: &str) -> String {
    spell_out(text, |c| c != '\n' && acts(c))
}

/// A JSON document. A parser reads the same values from it. JSON itself escapes only C0.
pub(crate) fn json(document: &str) -> String {
    let mut safe = String::with_capacity(document.len());
    for c in document.chars() {
        if acts(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string can't fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// One of each kind: C0, DEL, C1, a bidirectional override, a line separator.
    const HOSTILE: [char; 7] = ['\u{1b}', '\u{7}', '\r', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2028}'];

    #[test]
    fn what_acts_on_a_terminal_is_spelled_out() {
        for c in HOSTILE {
            let text = format!("a{c}[31mb");
            let expected = format!("a{}[31mb", c.escape_unicode());
            assert_eq!((part(&text), lines(&text)), (expected.clone(), expected));
            let document = json!({ "name": text }).to_string();
            assert!(!json(&document).contains(c), "{document:?}");
            assert_eq!(serde_json::from_str::<Value>(&json(&document)).expect("JSON")["name"], text);
        }
        assert_eq!((part("a\nb"), lines("a\nb")), ("a\\u{a}b".to_owned(), "a\nb".to_owned()));
        assert_eq!(part("Ä € 漢 🙂"), "Ä € 漢 🙂");
    }
}
