//! Builds the functions and the command line for this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;

use crate::{Context, Error, Result, process, project, say};

/// Builds every function and returns the executables by name.
///
/// Selects the whole workspace, and in it the binaries of the functions. The selected packages decide with which
/// features a dependency is compiled: another selection than that of `cargo test` would compile the AWS SDK twice.
pub(crate) fn build() -> Result<BTreeMap<String, PathBuf>> {
    build_as(&project::functions()?, &[])
}

/// Builds some functions as they are deployed, but for this machine's processor.
pub(crate) fn build_release(names: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    build_as(names, &["--release"])
}

fn build_as(names: &[String], profile: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let what = match names {
        [name] => name.clone(),
        names => format!("{} functions", names.len()),
    };
    let step = say::step(if profile.is_empty() {
        format!("Building {what}")
    } else {
        format!("Building {what} for release")
    });
    let mut cargo = project::cargo();
    cargo
        .args(["build", "--workspace", "--message-format", "json-render-diagnostics"])
        .args(profile)
        .stderr(Stdio::inherit());
    for name in names {
        cargo.args(["--bin", name]);
    }
    let messages = process::ask(&mut cargo, b"").map_err(|error| match error {
        Error::Program { .. } => Error::advice("the functions do not compile: see above"),
        other => other,
    })?;
    let mut built = parse_executables(&messages)?;
    built.retain(|name, _| names.contains(name));
    if let Some(missing) = names.iter().find(|name| !built.contains_key(*name)) {
        return Err(Error::advice(format!("functions/{missing} has no binary named {missing}")));
    }
    step.done(format_args!("{} executables", built.len()));
    Ok(built)
}

/// Builds the operator's command line and returns its executable.
pub(crate) fn build_command_line() -> Result<PathBuf> {
    let mut cargo = project::cargo();
    cargo
        .args(["build", "--workspace", "--bin", "onceload", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let messages = process::ask(&mut cargo, b"")?;
    let built = parse_executables(&messages)?.remove("onceload");
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

/// Reads the executables from cargo's messages, one JSON object a line.
fn parse_executables(messages: &[u8]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message: Message = serde_json::from_slice(line).context(|| "parse the messages of cargo")?;
        if let (Some(path), Some(target)) = (message.executable, message.target) {
            found.insert(target.name, path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::parse_executables;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"shared"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"migrate"},"executable":"/t/debug/migrate"}
{"reason":"build-finished","success":true}"#;
        let found = parse_executables(messages).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found["migrate"].to_str(), Some("/t/debug/migrate"));
    }
}
