//! The grammar of `Idempotency-Key`.

use proptest::prelude::*;
use shared::domain::idempotency::{IdempotencyKey, KeyError, MAX_KEY_BYTES};

fn parse(header: &str) -> Result<String, KeyError> {
    IdempotencyKey::parse(header.as_bytes()).map(|key| key.as_str().to_owned())
}

#[test]
fn bare_and_quoted() {
    assert_eq!(parse("8e03978e-40d5-43dd"), Ok("8e03978e-40d5-43dd".into()));
    assert_eq!(parse("\"8e03978e-40d5-43dd\""), parse("8e03978e-40d5-43dd"));
    assert_eq!(parse(r#""a\"b\\c""#), Ok(r#"a"b\c"#.into()));
    assert_eq!(parse(r#"a"b"#), Ok(r#"a"b"#.into()), "a bare key is taken as it is");
    assert_eq!(parse(" k "), Ok("k".into()));
}

/// RFC 9110, section 5.3: the gateway joins the lines of a header with commas.
#[test]
fn a_header_sent_twice_is_one_key_only_if_both_are_equal() {
    for twice in ["k, k", "k,k , k", "k, \"k\"", "\"k\",\"k\""] {
        assert_eq!(parse(twice), Ok("k".into()), "{twice}");
    }
    for several in ["k, l", "a,b", "k, k, l", "\"k\", l", "\"a,b\", a"] {
        assert_eq!(parse(several), Err(KeyError::Several), "{several}");
    }
    for empty in [",", "k,", ", k", "k,,k"] {
        assert_eq!(parse(empty), Err(KeyError::Empty), "{empty}");
    }
    assert_eq!(parse(r#""a, b""#), Ok("a, b".into()), "a comma in quotation marks parts nothing");
    assert_eq!(parse(r#""a\", b", "a\", b""#), Ok(r#"a", b"#.into()));
    assert_eq!(parse("\"k\"l, k"), Err(KeyError::Quoting));
}

#[test]
fn refuses() {
    for empty in ["", "  ", "\"\""] {
        assert_eq!(parse(empty), Err(KeyError::Empty), "{empty:?}");
    }
    assert_eq!(parse(&"k".repeat(256)), Err(KeyError::TooLong(256)));
    assert_eq!(parse(&format!("\"{}\"", "k".repeat(256))), Err(KeyError::TooLong(256)));
    assert!(parse(&"k".repeat(255)).is_ok() && parse(&format!("\"{}\"", "k".repeat(255))).is_ok());
    for bad in ["\u{7f}", "a\tb", "ä", "a\0"] {
        assert_eq!(parse(bad), Err(KeyError::Character), "{bad:?}");
    }
    for bad in ["\"", "\"a", r#""a\n""#, "\"a\";p=1", r#""a\"#, "\"a\"b\""] {
        assert_eq!(parse(bad), Err(KeyError::Quoting), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn quoting_loses_nothing(key in "[ -~]{0,253}") {
        let key = format!("k{key}k");
        let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
        prop_assert_eq!(parse(&quoted), Ok(key.clone()));
        if !key.contains(',') {
            prop_assert_eq!(parse(&key), Ok(key));
        }
    }

    #[test]
    fn what_is_accepted_is_within_bounds(header in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(key) = IdempotencyKey::parse(&header) {
            let key = key.as_str();
            prop_assert!((1..=MAX_KEY_BYTES).contains(&key.len()));
            prop_assert!(key.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        }
    }
}
