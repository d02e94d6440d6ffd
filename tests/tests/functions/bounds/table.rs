//! docs/LIMITS.md: its numbers are those of the code, and the tests that it names exist.

use std::path::Path;

const LIMITS: &str = include_str!("../../../../docs/LIMITS.md");

/// The rows of the tables: cells without blanks around them.
fn rows() -> Vec<Vec<&'static str>> {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| what");
    LIMITS
        .lines()
        .filter(is_row)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// The words in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_constant_has_the_documented_value() {
    use shared::{csv, db, domain, lambda};
    let number = |value: i64| {
        let digits = value.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    };
    let constants = [
        ("MAX_FILES", domain::source::MAX_FILES as i64),
        ("MAX_KEY_BYTES", domain::key::MAX_KEY_BYTES as i64),
        ("SHOWN_KEYS", domain::source::SHOWN_KEYS as i64),
        ("SHOWN_FAULTS", domain::fault::SHOWN_FAULTS as i64),
        ("MAX_DETAIL_BYTES", domain::fault::MAX_DETAIL_BYTES as i64),
        ("MAX_MESSAGE_BYTES", domain::step::MAX_MESSAGE_BYTES as i64),
        ("MAX_HEADER_BYTES", csv::layout::MAX_HEADER_BYTES as i64),
        ("MAX_COLUMNS", csv::layout::MAX_COLUMNS as i64),
        ("MAX_RATIO", csv::decompress::MAX_RATIO as i64),
        ("MAX_DECOMPRESSED_BYTES", lambda::MAX_DECOMPRESSED_BYTES as i64),
        ("RAW_BYTES", db::rejects::RAW_BYTES as i64),
        ("MAX_FILE_BYTES", db::rejects::MAX_FILE_BYTES),
        ("MAX_JOB_BYTES", db::rejects::MAX_JOB_BYTES),
        ("MAX_KEYS", db::idempotency_keys::MAX_KEYS),
        ("MAX_ANSWER_BYTES", db::idempotency_keys::MAX_ANSWER_BYTES),
        ("MAX_OPEN", db::uploads::MAX_OPEN),
        ("MAX_OPEN_OF_MERCHANT", db::uploads::MAX_OPEN_OF_MERCHANT),
    ];
    let rows = rows();
    for (name, value) in constants {
        let row = rows.iter().find(|row| quoted(row[2]).contains(&name));
        let row = row.unwrap_or_else(|| panic!("docs/LIMITS.md does not name {name}"));
        assert!(row[1].contains(&number(value)), "{name} is {value}: {row:?}");
    }
}

#[test]
fn every_place_and_every_test_of_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|_| panic!("there is no {path}"))
    };
    let mut sources = String::new();
    let mut folders =
        vec![root.join("tests"), root.join("functions"), root.join("shared"), root.join("xtask/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(entry).expect("a source");
            }
        }
    }
    let rows = rows();
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        assert_eq!(row.len(), 4, "{row:?}");
        let places = quoted(row[2]);
        let file = places.iter().find(|place| place.contains('/')).map(|path| read(path)).unwrap_or_default();
        for name in places.iter().filter(|place| !place.contains('/')) {
            assert!(file.contains(name), "{name} is not in {places:?}");
        }
        for test in quoted(row[3]) {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}");
        }
    }
}
