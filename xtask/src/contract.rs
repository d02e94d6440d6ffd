//! Compares docs/openapi.yaml with the deployed routes, with every answer that the end-to-end tests received, and with
//! the answers to Schemathesis.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::python::{Python, script};
use crate::stack::StackFile;
use crate::{Error, Result, process, project, say};

/// How long Schemathesis may send requests.
const SECONDS: u32 = 120;

fn document() -> PathBuf {
    project::root().join("docs/openapi.yaml")
}

/// Checks the document, and that it and template.yaml have the same routes.
pub fn compare_routes(python: &Python, cloudformation: &Path) -> Result<()> {
    let mut compare = openapi(python, "routes");
    process::run_well(compare.arg(cloudformation).arg("--all"))
        .map_err(|error| explain(error, "docs/openapi.yaml has problems: see above"))
}

/// Checks that every answer that the tests stored in `directory` is documented, and with `all` that they received every
/// documented answer. Returns whether that is so.
pub fn compare_answers(python: &Python, directory: &Path, all: bool) -> Result<bool> {
    say::line("Comparing the API's answers with docs/openapi.yaml");
    let mut compare = openapi(python, "answers");
    compare.arg(directory.join("answers.jsonl")).args(all.then_some("--all"));
    Ok(process::run(&mut compare)?.success())
}

fn openapi(python: &Python, what: &str) -> Command {
    let mut command = Command::new(python.program("python"));
    command.arg(script("openapi.py")).arg(what).arg(document()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn explain(error: Error, message: &str) -> Error {
    match error {
        Error::Program { .. } => Error::advice(message),
        other => other,
    }
}

/// Sends the API requests that the document allows and requests that it forbids, as the second demo user. Returns whether
/// every answer was documented and none was a server error. The requests are the same in every run, as far as time allows.
pub fn run_schemathesis(python: &Python, directory: &Path) -> Result<bool> {
    say::line("Testing the API with Schemathesis");
    let stack = StackFile::read(directory)?;
    let user = stack.users.get(1).ok_or_else(|| Error::advice("the stack has no second user"))?;
    let mut command = Command::new(python.program("schemathesis"));
    command
        .arg("--config-file")
        .arg(script("schemathesis.toml"))
        .arg("run")
        .arg(document())
        .args([
            "--url",
            &stack.api_url,
            "--max-time",
            &SECONDS.to_string(),
            "--report",
            "junit",
            "--report-dir",
        ])
        .arg(directory.join("schemathesis"))
        .current_dir(directory)
        // Every user of the machine can read arguments, but not the environment.
        .env("ONCELOAD_TOKEN", &user.token)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(process::run(&mut command)?.success())
}
