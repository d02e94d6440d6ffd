//! CSV as reports write it: quotes, and formulas that a spreadsheet must not run.

use proptest::prelude::*;
use shared::csv::text::{defuse, write_record};

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
        assert_eq!(defuse(text), safe);
    }
    assert_eq!(write_record(&["a", "b;c", "say \"no\""], b';'), "a;\"b;c\";\"say \"\"no\"\"\"\n");
    assert_eq!(write_record(&["a,b"], b';'), "a,b\n");
    assert_eq!(write_record(&[""], b','), "\"\"\n");
}

proptest! {
    #[test]
    fn reads_back(fields in proptest::collection::vec("[a-c,;\"\n\r =]{0,6}", 1..5), semicolon: bool) {
        let delimiter = if semicolon { b';' } else { b',' };
        let line = write_record(&fields, delimiter);
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
