//! Checks that every path that CONTRIBUTING.md and docs/README.md name exists.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::{Context, Error, Result, project};

const DOCUMENTS: [&str; 2] = ["CONTRIBUTING.md", "docs/README.md"];

/// Fails with every path that a document names and that does not exist.
pub(crate) fn check() -> Result<()> {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let file = project::root().join(document);
        let text = fs::read_to_string(&file).context(|| format!("read {document}"))?;
        let folder = Path::new(document).parent().unwrap_or(Path::new(""));
        let linked = links(&text).map(|target| folder.join(target));
        let named = code_spans(&text).filter(|span| is_path(span)).map(PathBuf::from);
        for path in linked.chain(named).filter(|path| !exists(path)) {
            missing.push(format!("{document} names {}, which does not exist", path.display()));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::advice(missing.join("; "))) }
}

/// The targets of Markdown links to files, without their fragments.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The inline code of a Markdown text, without its fenced blocks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.lines().flat_map(|line| line.split('`').skip(1).step_by(2)))
}

/// Whether inline code is a path from the root: it has a slash, it begins in a folder of ours, and it is one word.
/// `<name>` and `*` stand for any name.
fn is_path(span: &str) -> bool {
    let first = span.split('/').next().unwrap_or_default();
    span.contains('/')
        && !span.contains(char::is_whitespace)
        && !first.is_empty()
        && first != "target"
        && project::root().join(first).is_dir()
}

/// Whether a path from the root exists; for a pattern, whether any file or folder matches it.
fn exists(path: &Path) -> bool {
    let mut found = vec![project::root()];
    for component in path.components() {
        let Component::Normal(name) = component else {
            found = found.iter().map(|folder| folder.join(component)).collect();
            continue;
        };
        let name = name.to_string_lossy();
        let Some((prefix, suffix)) = pattern(&name) else {
            found = found.iter().map(|folder| folder.join(&*name)).filter(|path| path.exists()).collect();
            continue;
        };
        let entries = found.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let matches = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(suffix)
        };
        found = entries.map(|entry| entry.path()).filter(matches).collect();
    }
    !found.is_empty()
}

/// What stands before and after the placeholder of a name.
fn pattern(name: &str) -> Option<(&str, &str)> {
    if let Some(parts) = name.split_once('*') {
        return Some(parts);
    }
    let (prefix, rest) = name.split_once('<')?;
    let (_, suffix) = rest.rsplit_once('>')?;
    Some((prefix, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_code_are_found_and_fenced_blocks_are_not() {
        let text = "See [the map](docs/README.md#top), `xtask/src/lib.rs` and [SQL](https://example.com).\n\
                    ```sh\n`cat functions/none`\n```\nand `cargo xtask`";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/README.md"]);
        assert_eq!(code_spans(text).collect::<Vec<_>>(), ["xtask/src/lib.rs", "cargo xtask"]);
    }

    #[test]
    fn code_is_a_path_if_it_begins_in_a_folder_of_the_checkout() {
        assert!(is_path("xtask/src/none.rs") && is_path("functions/<name>/src"));
        for other in
            ["cargo xtask", "POST /imports", "README.md", "import/", "target/local/stack.json", "/usr/bin"]
        {
            assert!(!is_path(other), "{other}");
        }
    }

    #[test]
    fn a_placeholder_stands_for_any_name() {
        assert!(exists(Path::new("functions/<name>/src/lib.rs")));
        assert!(exists(Path::new("xtask/src/*.rs")));
        assert!(exists(Path::new("docs/../README.md")));
        assert!(!exists(Path::new("functions/<name>/src/none.rs")));
        assert!(!exists(Path::new("xtask/src/none.rs")));
    }

    #[test]
    fn every_path_in_the_documents_exists() {
        check().unwrap();
    }
}
