//! `docs/FAULTS.md` names tests that exist.

use std::collections::BTreeSet;
use std::path::Path;

/// The names of all functions in the Rust files below a folder.
fn collect_functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_the_page_of_faults_names_exists() {
    let root = xtask::project::root();
    let page = std::fs::read_to_string(root.join("docs/FAULTS.md")).unwrap();
    let mut exist = BTreeSet::new();
    collect_functions(&root.join("tests/tests"), &mut exist);
    // A test's name is a sentence; other names in backquotes have fewer words.
    let is_sentence = |name: &&str| {
        name.matches('_').count() >= 4
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_sentence).collect();
    assert!(!named.is_empty());
    let missing: Vec<_> = named.into_iter().filter(|name| !exist.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/FAULTS.md: no such tests: {missing:?}");
}
