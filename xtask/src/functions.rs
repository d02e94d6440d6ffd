//! Builds the functions for the machine we are on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;

use crate::{Context, Error, Result, process, project, say};

/// Builds every package under `functions/` and answers the executable of each by its name.
///
/// It selects the whole workspace, and of that the functions' binaries: which features a dependency is compiled
/// with depends on the packages that are selected, and another selection here than in `cargo test` would compile
/// the AWS SDK twice.
pub fn build() -> Result<BTreeMap<String, PathBuf>> {
    build_as(&project::functions()?, &[])
}

/// These as they are deployed, but for this machine's processor.
pub fn build_release(names: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    build_as(names, &["--release"])
}

fn build_as(names: &[String], profile: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let step = match names {
        [name] => say::step(format!("Building {name} {}", profile.join(" "))),
        names => say::step(format!("Building {} functions {}", names.len(), profile.join(" "))),
    };
    let mut cargo = project::cargo();
    cargo
        .args(["build", "--workspace", "--message-format", "json-render-diagnostics"])
        .args(profile)
        .stderr(Stdio::inherit());
    for name in names {
        cargo.args(["--bin", name]);
    }
    let messages = process::ask(&mut cargo, b"").map_err(|error| match error {
        Error::Program { .. } => Error::advice("the functions don't compile: see above"),
        other => other,
    })?;
    let mut built = executables(&messages)?;
    built.retain(|name, _| names.contains(name));
    if let Some(missing) = names.iter().find(|name| !built.contains_key(*name)) {
        return Err(Error::advice(format!("functions/{missing} has no binary named {missing}")));
    }
    step.done(format_args!("{} executables", built.len()));
    Ok(built)
}

/// Builds the operator's command line and answers where it is.
pub fn command_line() -> Result<PathBuf> {
    let mut cargo = project::cargo();
    cargo
        .args(["build", "--workspace", "--bin", "onceload", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let messages = process::ask(&mut cargo, b"")?;
    let built = executables(&messages)?.remove("onceload");
    built.ok_or_else(|| Error::advice("cli/ has no binary named onceload"))
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The executables that cargo's messages name, one JSON object a line.
fn executables(messages: &[u8]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message: Message = serde_json::from_slice(line).context(|| "understand what cargo says")?;
        if let (Some(path), Some(target)) = (message.executable, message.target) {
            found.insert(target.name, path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::executables;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"shared"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"migrate"},"executable":"/t/debug/migrate"}
{"reason":"build-finished","success":true}"#;
        let found = executables(messages).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found["migrate"].to_str(), Some("/t/debug/migrate"));
    }
}
