//! Checks the dependencies: their licences, refused crates, second versions of large crates, and unused ones. Reads
//! what `cargo tree` and `cargo metadata` print, so it needs no network.

mod unused;

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::{Context, Error, Result, project};

/// The licences that we may ship. A choice (`OR`) needs one of them; in a conjunction (`AND`) each must be one of them.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that would bring a second TLS stack or a second cryptography provider beside rustls on AWS-LC.
const REFUSED: [&str; 5] = ["native-tls", "openssl", "openssl-sys", "ring", "webpki"];

/// Crates so large that a second version would show in the size and the build time of every function.
const ONCE: [&str; 12] = [
    "aws-lc-rs",
    "aws-smithy-runtime",
    "aws-smithy-types",
    "http",
    "hyper",
    "rustls",
    "serde_json",
    "tokio",
    "tokio-postgres",
    "tokio-util",
    "uuid",
    "zstd",
];

/// Fails with everything that is wrong with the dependencies.
pub(crate) fn check() -> Result<()> {
    // Not `cargo metadata`: it lists what no selected feature needs.
    let output = project::cargo()
        .args(["tree", "--locked", "--workspace", "--target", "all", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}\t{l}"])
        .stderr(Stdio::inherit())
        .output()
        .context(|| "run cargo tree".to_owned())?;
    if !output.status.success() {
        return Err(Error::advice("cargo tree failed; is Cargo.lock up to date?"));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    let mut problems = problems(&listed);
    problems.extend(unused::find()?);
    if problems.is_empty() { Ok(()) } else { Err(Error::advice(problems.join("; "))) }
}

/// Finds problems in lines of `name vVERSION ...`, a tab and the licence.
fn problems(listed: &str) -> Vec<String> {
    let packages: BTreeSet<(&str, &str, &str)> = listed
        .lines()
        .filter_map(|line| {
            // cargo marks a package that it has listed before.
            let (package, licence) = line.trim_end_matches(" (*)").split_once('\t')?;
            let mut words = package.split(' ');
            Some((words.next()?, words.next()?, licence))
        })
        .collect();
    let mut problems = Vec::new();
    for (name, version, licence) in &packages {
        if !is_allowed(licence) {
            problems.push(format!("{name} {version} has the licence `{licence}`"));
        }
        if REFUSED.contains(name) {
            problems.push(format!("{name} {version} is refused: `cargo tree -i {name}` shows what needs it"));
        }
    }
    for name in ONCE {
        let versions: Vec<&str> = packages.iter().filter(|p| p.0 == name).map(|p| p.1).collect();
        if versions.len() > 1 {
            problems.push(format!("{name} has versions {}; only one is allowed", versions.join(" and ")));
        }
    }
    problems
}

/// Whether an SPDX expression allows us to ship. Parentheses may nest one level; `/` is an old form of `OR`.
fn is_allowed(expression: &str) -> bool {
    let flat = expression.replace('/', " OR ");
    let parts = split_outside_parentheses(&flat, " AND ");
    parts.iter().all(|part| {
        let part = part.trim();
        let inner = part.strip_prefix('(').and_then(|p| p.strip_suffix(')')).unwrap_or(part);
        inner.split(" OR ").any(|licence| LICENCES.contains(&licence.trim()))
    })
}

fn split_outside_parentheses<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= start && text[at..].starts_with(separator) => {
                parts.push(&text[start..at]);
                start = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_expression_is_allowed_if_it_leaves_a_choice_that_is() {
        for good in
            ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "ISC AND (Apache-2.0 OR ISC)", "Apache-2.0 / MIT"]
        {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "ISC AND (GPL-3.0 OR AGPL-3.0)"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn second_versions_refused_crates_and_licences_are_reported() {
        let listed = "tokio v1.0.0\tMIT\ntokio v1.0.0\tMIT\ntokio v2.0.0\tMIT\nring v0.17.0\tApache-2.0 AND ISC\n\
                      here v0.1.0 (/x)\tMIT\nx v1.0.0\tGPL-3.0\n";
        let found = problems(listed);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(problems("tokio v1.0.0\tMIT\n").is_empty());
    }
}
