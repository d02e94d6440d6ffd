//! Derives the address of a community from its name: lower-case ASCII letters, digits and hyphens.
//!
//! A slug that is taken gets a suffix, `-1`, `-2` and so on. The database decides which one.

/// The longest base. With the longest suffix, `-` and ten digits, an address fits into a DNS label, which has at most 63
/// characters.
const MAX_BASE: usize = 50;

/// The slug of a name without any usable character.
const FALLBACK: &str = "community";

/// Words that a site has pages of its own for. They count as taken.
const RESERVED: [&str; 52] = [
    "about",
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "blog",
    "communities",
    "contact",
    "create",
    "dashboard",
    "delete",
    "docs",
    "edit",
    "explore",
    "feed",
    "help",
    "home",
    "imports",
    "index",
    "invite",
    "join",
    "legal",
    "login",
    "logout",
    "me",
    "members",
    "merchants",
    "migrations",
    "new",
    "null",
    "onceload",
    "privacy",
    "profile",
    "register",
    "root",
    "search",
    "security",
    "settings",
    "signin",
    "signup",
    "static",
    "status",
    "support",
    "system",
    "terms",
    "undefined",
    "www",
];

/// The base of an address, without a suffix: `[a-z0-9]+(-[a-z0-9]+)*`, at most [`MAX_BASE`] long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slug(String);

impl Slug {
    /// Transliterates other scripts (é is e, ß is ss, Москва is moskva) and drops apostrophes. Every other character that
    /// is neither a letter nor a digit separates words.
    pub(crate) fn of(name: &str) -> Self {
        let mut base = String::with_capacity(MAX_BASE);
        let mut between = false;
        for c in deunicode::deunicode_with_tofu(name, " ").chars() {
            if c == '\'' {
                continue;
            }
            if !c.is_ascii_alphanumeric() {
                between = true;
                continue;
            }
            let gap = between && !base.is_empty();
            if base.len() + usize::from(gap) >= MAX_BASE {
                break;
            }
            if gap {
                base.push('-');
            }
            between = false;
            base.push(c.to_ascii_lowercase());
        }
        Self(if base.is_empty() { FALLBACK.to_owned() } else { base })
    }

    /// The slug without a suffix.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The lowest suffix that may be given; 0 is none.
    pub(crate) fn lowest_suffix(&self) -> i32 {
        i32::from(RESERVED.contains(&self.0.as_str()))
    }

    /// The slug without number words at its end. Slugs whose addresses can collide, such as `a` with suffix 1 and the
    /// `a-1` of a name "a 1", have the same root, so a lock on the root keeps them apart.
    pub(crate) fn root(&self) -> &str {
        let mut root = self.as_str();
        while let Some((rest, word)) = root.rsplit_once('-')
            && word.bytes().all(|byte| byte.is_ascii_digit())
        {
            root = rest;
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn derives_slugs_from_names_of_many_scripts() {
        for (name, slug) in [
            ("Coffee Lovers", "coffee-lovers"),
            ("  --Coffee__  LOVERS!! ", "coffee-lovers"),
            ("Café Zoë", "cafe-zoe"),
            ("Cafe\u{301}", "cafe"),
            ("Straße nach Århus", "strasse-nach-arhus"),
            ("Łódź Œuvre Ⅷ ﬁn", "lodz-oeuvre-viii-fin"),
            ("Москва", "moskva"),
            ("Ada's & Bob’s", "adas-bobs"),
            ("C++ / C#", "c-c"),
            ("2024", "2024"),
            ("a 1", "a-1"),
            ("../../etc/passwd", "etc-passwd"),
            ("", "community"),
            ("!!! ---", "community"),
            ("\u{e000}\u{200b}", "community"),
        ] {
            assert_eq!(Slug::of(name).as_str(), slug, "{name}");
        }
    }

    #[test]
    fn cuts_long_names_without_a_hyphen_at_the_end() {
        assert_eq!(Slug::of(&"x".repeat(100)).as_str(), "x".repeat(MAX_BASE));
        let at_the_gap = format!("{} yz", "x".repeat(MAX_BASE - 1));
        assert_eq!(Slug::of(&at_the_gap).as_str(), "x".repeat(MAX_BASE - 1));
    }

    #[test]
    fn reserved_words_count_as_taken() {
        assert!(RESERVED.is_sorted());
        for word in RESERVED {
            let slug = Slug::of(&word.to_uppercase());
            assert_eq!((slug.as_str(), slug.lowest_suffix()), (word, 1));
        }
        for free in ["admins", "admin-1", "Coffee", ""] {
            assert_eq!(Slug::of(free).lowest_suffix(), 0, "{free}");
        }
    }

    #[test]
    fn a_root_has_no_number_words_at_its_end() {
        for (name, root) in [("a", "a"), ("a 1", "a"), ("a 1 22", "a"), ("1 2", "1"), ("a 1b", "a-1b")] {
            assert_eq!(Slug::of(name).root(), root, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_has_a_well_formed_slug(name in any::<String>()) {
            let slug = Slug::of(&name);
            let text = slug.as_str();
            prop_assert!((1..=MAX_BASE).contains(&text.len()), "{text}");
            prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{text}");
            prop_assert!(!text.starts_with('-') && !text.ends_with('-') && !text.contains("--"), "{text}");
            let again = Slug::of(text);
            prop_assert_eq!(again.as_str(), text, "a slug's slug is itself");
        }

        #[test]
        fn slugs_whose_addresses_can_collide_share_a_root(name in "[a-c1-3 ]{1,12}", suffix in 1..1000u32) {
            let slug = Slug::of(&name);
            let other = Slug::of(&format!("{}-{suffix}", slug.as_str()));
            prop_assert_eq!(slug.root(), other.root());
        }
    }
}
