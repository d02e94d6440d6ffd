//! JSON as every door reads it: the document itself, or the first member that stands twice.

use proptest::prelude::*;
use serde_json::{Value, json};
use shared::domain::json::{Document, JsonError, find_nul, parse};

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_document_without_repetitions_is_itself(value in any_value()) {
        let text = value.to_string();
        prop_assert_eq!(&parse(text.as_bytes()).unwrap(), &value);
        let marked = format!("\u{feff}{text}");
        prop_assert_eq!(&parse(marked.as_bytes()).unwrap(), &value);
        // As a runtime reads it for a step.
        let mut reader = serde_json::Deserializer::from_str(&text);
        let document: Document = serde_path_to_error::deserialize(&mut reader).unwrap();
        prop_assert_eq!(document.into_value().unwrap(), value);
    }
}

#[test]
fn the_first_member_that_stands_twice_is_named() {
    for (text, member) in [
        (r#"{"a":1,"a":1}"#, "a"),
        (r#"{"a":{"b":[{"c":1,"d":2,"c":3}]},"e":1,"e":2}"#, "a.b.c"),
        (r#"[{"a":1},{"a":1},{"b":1,"b":2}]"#, "b"),
        (r#"{"a":1,"\u0061":2}"#, "a"),
    ] {
        let error = parse(text.as_bytes()).expect_err(text);
        assert!(matches!(error, JsonError::Repeated(_)), "{text}: {error}");
        assert!(error.to_string().contains(&format!("`{member}` stands there twice")), "{text}: {error}");
        let mut reader = serde_json::Deserializer::from_str(text);
        let document: Document =
            serde_path_to_error::deserialize(&mut reader).expect("it is read to its end");
        assert!(document.into_value().is_err(), "{text}");
    }
    assert!(matches!(parse(br#"{"a":1,"a":"#), Err(JsonError::Syntax(_))), "it ends too early");
    assert!(matches!(parse(b""), Err(JsonError::Syntax(_))));
}

#[test]
fn a_character_that_cannot_be_stored_is_found_wherever_it_is() {
    assert_eq!(find_nul(&json!({ "a": ["x", { "b/c~": "\0" }] })).as_deref(), Some("/a/1/b~1c~0"));
    assert_eq!(find_nul(&json!({ "a\0": 1 })).as_deref(), Some("/a\\u0000"));
    assert_eq!(find_nul(&json!({ "a": "\u{1}", "b": null })), None);
}
