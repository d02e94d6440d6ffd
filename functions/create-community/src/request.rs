//! Reads the body of a request to create a community.
//!
//! A field of the wrong kind refuses the request, and all such fields are named at once. A tag or an image that can't be
//! kept is left out with a warning: nobody should lose a community over a tag.

use serde_json::{Map, Value};
use shared::csv::text::is_invisible;
use shared::domain::field::fold_case;
use shared::domain::remark::Remark;
use std::collections::HashSet;
use unicode_normalization::UnicodeNormalization;

/// The longest name, in characters, once it is trimmed.
const MAX_NAME: usize = 100;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 2000;
const MAX_TAGS: usize = 50;
const MAX_IMAGES: usize = 20;
/// The longest tag, in characters, as the constraint of `community_tags`.
const MAX_TAG: usize = 50;
/// The longest URL of an image, in bytes, as the constraint of `community_images`.
const MAX_IMAGE: usize = 2048;

/// A community that may be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewCommunity {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) images: Vec<String>,
    /// Why tags and images were left out.
    pub(crate) warnings: Vec<Remark>,
}

impl NewCommunity {
    /// Reads the body. The error names everything that is wrong with it.
    pub(crate) fn read(body: &Value) -> Result<Self, Vec<Remark>> {
        let Some(members) = body.as_object() else {
            return Err(vec![Remark::new("", "The body must be an object.")]);
        };
        let mut wrong = Vec::new();
        for member in members.keys() {
            if !["name", "description", "tags", "images"].contains(&member.as_str()) {
                let pointer = format!("/{}", member.replace('~', "~0").replace('/', "~1"));
                wrong.push(Remark::new(pointer, "There is no such field."));
            }
        }
        let name = read_name(members, &mut wrong);
        let description = read_description(members, &mut wrong);
        let tags = read_texts(members, "tags", MAX_TAGS, &mut wrong);
        let images = read_texts(members, "images", MAX_IMAGES, &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut warnings = Vec::new();
        let tags = keep_tags(&tags, &mut warnings);
        let images = keep_images(&images, &mut warnings);
        Ok(Self { name, description, tags, images, warnings })
    }
}

fn read_name(members: &Map<String, Value>, wrong: &mut Vec<Remark>) -> String {
    let mut refuse = |detail: &str| {
        wrong.push(Remark::new("/name", detail));
        String::new()
    };
    match members.get("name") {
        None | Some(Value::Null) => refuse("A name is required."),
        Some(Value::String(name)) => {
            let name: String = name.trim().nfc().collect();
            match name.chars().count() {
                0 => refuse("A name is required."),
                1..=MAX_NAME if name.contains(char::is_control) => {
                    refuse("A name must not contain control characters.")
                }
                1..=MAX_NAME if name.chars().all(is_invisible) => {
                    refuse("A name must have a character that can be seen.")
                }
                1..=MAX_NAME => name,
                _ => refuse(&format!("A name has at most {MAX_NAME} characters.")),
            }
        }
        Some(_) => refuse("A name must be a string."),
    }
}

fn read_description(members: &Map<String, Value>, wrong: &mut Vec<Remark>) -> Option<String> {
    let mut refuse = |detail: &str| {
        wrong.push(Remark::new("/description", detail));
        None
    };
    match members.get("description") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.chars().count() > MAX_DESCRIPTION => {
            refuse(&format!("A description has at most {MAX_DESCRIPTION} characters."))
        }
        Some(Value::String(text)) if text.contains(|c: char| c.is_control() && !"\n\r\t".contains(c)) => {
            refuse("A description must not contain control characters other than line breaks and tabs.")
        }
        Some(Value::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Some(_) => refuse("A description must be a string."),
    }
}

/// Reads an array of strings.
fn read_texts<'a>(
    members: &'a Map<String, Value>,
    field: &str,
    max: usize,
    wrong: &mut Vec<Remark>,
) -> Vec<&'a str> {
    let values = match members.get(field) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(values)) if values.len() <= max => values,
        Some(Value::Array(_)) => {
            wrong.push(Remark::new(format!("/{field}"), format!("There may be at most {max}.")));
            return Vec::new();
        }
        Some(_) => {
            wrong.push(Remark::new(format!("/{field}"), "This must be an array of strings."));
            return Vec::new();
        }
    };
    let mut texts = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        match value.as_str() {
            Some(text) => texts.push(text.trim()),
            None => wrong.push(Remark::new(format!("/{field}/{i}"), "This must be a string.")),
        }
    }
    texts
}

/// Keeps the tags that can be kept. Tags that differ only in case, or in how accents are written, are one tag, in its first
/// spelling.
fn keep_tags(tags: &[&str], warnings: &mut Vec<Remark>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (i, tag) in tags.iter().enumerate() {
        let tag: String = tag.nfc().collect();
        let fault = match tag.chars().count() {
            0 => "it is empty".to_owned(),
            1..=MAX_TAG if tag.contains(char::is_control) => "it contains control characters".to_owned(),
            1..=MAX_TAG if tag.chars().all(is_invisible) => "it has no character that can be seen".to_owned(),
            1..=MAX_TAG => {
                // Canonical caseless matching (The Unicode Standard, section 3.13, D145).
                if seen.insert(fold_case(tag.nfd()).nfd().collect::<String>()) {
                    kept.push(tag);
                }
                continue;
            }
            n => format!("it has {n} characters, and {MAX_TAG} are allowed"),
        };
        warnings.push(Remark::new(format!("/tags/{i}"), format!("The tag was left out: {fault}.")));
    }
    kept
}

/// Keeps the images that can be kept.
fn keep_images(images: &[&str], warnings: &mut Vec<Remark>) -> Vec<String> {
    let mut kept = Vec::new();
    for (i, image) in images.iter().enumerate() {
        let authority = image.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
        let fault = match authority.map(host_of) {
            None => "it is not an https:// URL".to_owned(),
            Some("") => "its URL names no host".to_owned(),
            _ if image.contains(|c: char| c.is_control() || c.is_whitespace()) => {
                "its URL contains white space or control characters".to_owned()
            }
            // RFC 3986, appendix A: these stand in no URI.
            _ if image.contains(['"', '<', '>', '\\', '^', '`', '{', '|', '}']) => {
                "its URL contains a character that must be percent-encoded".to_owned()
            }
            _ if image.len() > MAX_IMAGE => {
                format!("its URL has {} bytes, and {MAX_IMAGE} are allowed", image.len())
            }
            _ => {
                kept.push((*image).to_owned());
                continue;
            }
        };
        warnings.push(Remark::new(format!("/images/{i}"), format!("The image was left out: {fault}.")));
    }
    kept
}

/// The host of `user@host:port` (RFC 3986, section 3.2).
fn host_of(authority: &str) -> &str {
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pointers(remarks: &[Remark]) -> Vec<&str> {
        remarks.iter().map(|remark| remark.pointer.as_str()).collect()
    }

    #[test]
    fn reads_a_whole_request_and_warns_of_what_is_left_out() {
        let body = json!({
            "name": "  Coffee Lovers ",
            "description": "Beans,\n\tand more. ",
            "tags": ["Coffee", "coffee ", "Filter", "", "x".repeat(51), "a\u{0}b"],
            "images": ["https://a.example/1.png", "http://a.example/2.png", "https:///x", "https://a b",
                "https://:443/x", "https://u@/x", "https://a.example/\"x", "https://u@[::1]:8/x"],
        });
        let community = NewCommunity::read(&body).expect("a community");
        assert_eq!(community.name, "Coffee Lovers");
        assert_eq!(community.description.as_deref(), Some("Beans,\n\tand more."));
        assert_eq!(community.tags, ["Coffee", "Filter"]);
        assert_eq!(community.images, ["https://a.example/1.png", "https://u@[::1]:8/x"]);
        let left_out = pointers(&community.warnings);
        let images = (1..=6).map(|image| format!("/images/{image}"));
        let expected: Vec<String> = (3..=5).map(|tag| format!("/tags/{tag}")).chain(images).collect();
        assert_eq!(left_out, expected);
        assert!(community.warnings.iter().all(|warning| warning.detail.contains("left out: it")));
    }

    #[test]
    fn one_text_in_two_spellings_is_one() {
        let body = json!({
            "name": "Cafe\u{301}",
            "tags": ["Cafe\u{301}", "CAF\u{c9}", "\u{39f}\u{394}\u{39f}\u{3a3}", "\u{3bf}\u{3b4}\u{3bf}\u{3c2}", "Stra\u{df}e", "STRASSE", "cafe"],
        });
        let community = NewCommunity::read(&body).expect("a community");
        assert_eq!(community.name, "Caf\u{e9}");
        assert_eq!(community.tags, ["Caf\u{e9}", "\u{39f}\u{394}\u{39f}\u{3a3}", "Stra\u{df}e", "cafe"]);
        assert_eq!(community.warnings, []);
        let long = json!({ "name": "e\u{301}".repeat(MAX_NAME) });
        assert!(NewCommunity::read(&long).is_ok(), "characters are counted as they are stored");
    }

    #[test]
    fn a_name_is_enough() {
        for body in [
            json!({ "name": "A" }),
            json!({ "name": "A", "description": null, "tags": null, "images": null }),
            json!({ "name": "A", "description": " ", "tags": [], "images": [] }),
        ] {
            let community = NewCommunity::read(&body).expect("a community");
            assert_eq!(community.description, None);
            assert!(
                community.tags.is_empty() && community.images.is_empty() && community.warnings.is_empty()
            );
        }
    }

    #[test]
    fn names_every_fault_at_once() {
        let body = json!({
            "name": "", "description": 1, "tags": ["a", 2, null], "images": {}, "colour": "red", "a/b~c": 1,
        });
        let mut found = NewCommunity::read(&body).expect_err("a refusal");
        found.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        let expected = ["/a~1b~0c", "/colour", "/description", "/images", "/name", "/tags/1", "/tags/2"];
        assert_eq!(pointers(&found), expected);
    }

    #[test]
    fn refuses_fields_beyond_their_bounds() {
        let long = |n: usize| "é".repeat(n);
        let refused: [(Value, &str); 10] = [
            (json!([]), ""),
            (json!("name"), ""),
            (json!({}), "/name"),
            (json!({ "name": " \u{a0}\t" }), "/name"),
            (json!({ "name": "\u{200b}\u{3164}" }), "/name"),
            (json!({ "name": long(MAX_NAME + 1) }), "/name"),
            (json!({ "name": "a\nb" }), "/name"),
            (json!({ "name": "a", "description": long(MAX_DESCRIPTION + 1) }), "/description"),
            (json!({ "name": "a", "description": "\u{0}" }), "/description"),
            (json!({ "name": "a", "tags": vec!["t"; MAX_TAGS + 1] }), "/tags"),
        ];
        for (body, pointer) in refused {
            assert_eq!(pointers(&NewCommunity::read(&body).expect_err("a refusal")), [pointer], "{body}");
        }
        let body = json!({
            "name": long(MAX_NAME), "description": long(MAX_DESCRIPTION), "tags": [long(MAX_TAG)],
            "images": vec!["https://a.example"; MAX_IMAGES],
        });
        assert_eq!(NewCommunity::read(&body).expect("a community").warnings, []);
    }

    proptest! {
        /// By the constraints of the tables, and without NUL, which PostgreSQL's `text` can't hold.
        #[test]
        fn the_database_can_store_what_is_kept(
            name in any::<String>(),
            tags in prop::collection::vec(any::<String>(), 0..8),
            images in prop::collection::vec("(https://)?[a-z/\u{0} ]{0,9}", 0..8),
        ) {
            let body = json!({ "name": name, "tags": tags, "images": images });
            if let Ok(community) = NewCommunity::read(&body) {
                prop_assert!((1..=MAX_NAME).contains(&community.name.chars().count()));
                prop_assert!(!community.name.contains('\0'));
                for tag in &community.tags {
                    prop_assert!((1..=MAX_TAG).contains(&tag.chars().count()) && !tag.contains('\0'));
                }
                for image in &community.images {
                    prop_assert!(image.starts_with("https://") && image.len() <= MAX_IMAGE && !image.contains('\0'));
                }
                let unique: HashSet<_> = community.tags.iter().map(|tag| tag.to_lowercase()).collect();
                prop_assert_eq!(unique.len(), community.tags.len());
            }
        }
    }
}
