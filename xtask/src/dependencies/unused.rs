//! Finds dependencies that no source file of their package names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Context, Result, process, project};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
}

impl Dependency {
    /// The name that sources use.
    fn crate_name(&self) -> String {
        self.rename.as_ref().unwrap_or(&self.name).replace('-', "_")
    }
}

/// Lists the unused dependencies of each member, and those of the workspace that no member has.
pub(super) fn find() -> Result<Vec<String>> {
    let mut cargo = project::cargo();
    let output = process::ask(
        cargo.args(["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"]),
        b"",
    )?;
    let metadata: Metadata =
        serde_json::from_slice(&output).context(|| "parse the output of cargo metadata")?;
    let mut problems = Vec::new();
    for package in &metadata.packages {
        problems.extend(unused_of(package)?);
    }
    let manifest = project::root().join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).context(|| format!("read {}", manifest.display()))?;
    let used: BTreeSet<&str> = metadata
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|it| it.name.as_str())
        .collect();
    let unused = workspace_dependencies(&manifest).filter(|name| !used.contains(name));
    problems.extend(unused.map(|name| format!("no member uses the workspace's dependency {name}")));
    Ok(problems)
}

fn unused_of(package: &Package) -> Result<Vec<String>> {
    let sources = read_sources(package.manifest_path.parent().unwrap_or(Path::new(".")))?;
    let unused = package.dependencies.iter().filter(|dependency| !names(&sources, &dependency.crate_name()));
    Ok(unused.map(|dependency| format!("{} does not use {}", package.name, dependency.name)).collect())
}

/// The text of every Rust file under a folder.
fn read_sources(folder: &Path) -> Result<String> {
    let mut text = String::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).context(|| format!("list {}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
            }
        }
    }
    Ok(text)
}

/// Whether a source names a crate: at the beginning of a path, or alone in a `use`.
fn names(source: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    source.lines().map(without_comment).any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + name.len()..]);
            let first = !before.ends_with(is_part) && (!before.ends_with("::") || before.ends_with(" ::"));
            let alone = before.trim_end().ends_with("use") && after.trim_start().starts_with([';', 'a']);
            first && (after.starts_with("::") || alone && !after.starts_with(is_part))
        })
    })
}

fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The names in the table `[workspace.dependencies]`.
fn workspace_dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_used_where_a_path_begins_with_it() {
        for source in [
            "use sha2::Digest;",
            "use sha2;",
            "use sha2 as hash;",
            "use {uuid::Uuid, sha2::Sha256};",
            "let hash = sha2::Sha256::new();",
            "#[sha2::test]",
            "let hash = ::sha2::Sha256::new();",
        ] {
            assert!(names(source, "sha2"), "{source}");
        }
        for source in [
            "// sha2::Sha256 would do",
            "use crate::sha2::Digest;",
            "use sha256::Digest;",
            "let sha2 = 1;",
            "use my_sha2::Digest;",
            "",
        ] {
            assert!(!names(source, "sha2"), "{source}");
        }
    }

    #[test]
    fn the_workspace_s_dependencies_are_read_from_its_manifest() {
        let manifest = "[workspace]\nmembers = []\n[workspace.dependencies]\na-b = \"1\"\n# c\nd = { path = \"d\" }\n[lints]\ne = 1\n";
        assert_eq!(workspace_dependencies(manifest).collect::<Vec<_>>(), ["a-b", "d"]);
    }

    #[test]
    fn every_dependency_of_the_workspace_is_used() {
        assert_eq!(find().unwrap(), Vec::<String>::new());
    }
}
