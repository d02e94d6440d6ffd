//! docs/openapi.yaml against what there is: the routes that are deployed, every answer that the end-to-end tests
//! received, and whatever schemathesis thinks of.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::python::{Python, script};
use crate::stack::StackFile;
use crate::{Error, Result, process, project, say};

/// How long schemathesis may go on asking.
const SECONDS: u32 = 120;

fn document() -> PathBuf {
    project::root().join("docs/openapi.yaml")
}

/// Every route that template.yaml deploys is documented, and the other way round.
pub fn routes(python: &Python, cloudformation: &Path) -> Result<()> {
    let mut compare = compare(python, "routes");
    process::run_well(compare.arg(cloudformation).arg("--all"))
        .map_err(|error| failed(error, "docs/openapi.yaml: see above"))
}

/// Every answer that the tests have kept in `directory` is documented; with `all`, everything documented was answered.
pub fn answers(python: &Python, directory: &Path, all: bool) -> Result<bool> {
    say::line("Comparing the API's answers with docs/openapi.yaml");
    let mut compare = compare(python, "answers");
    compare.arg(directory.join("answers.jsonl")).args(all.then_some("--all"));
    Ok(process::run(&mut compare)?.success())
}

fn compare(python: &Python, what: &str) -> Command {
    let mut command = Command::new(python.program("python"));
    command.arg(script("openapi.py")).arg(what).arg(document()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn failed(error: Error, words: &str) -> Error {
    match error {
        Error::Program { .. } => Error::advice(words),
        other => other,
    }
}

/// Asks the API, as the second demo user, whatever the document allows and forbids. True if nothing went wrong and
/// nothing undocumented was answered. The same questions every time, as far as time allows.
pub fn schemathesis(python: &Python, directory: &Path) -> Result<bool> {
    say::line("Schemathesis asks the API");
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
        // In the environment, not among the arguments, which anybody on the machine may read.
        .env("ONCELOAD_TOKEN", &user.token)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(process::run(&mut command)?.success())
}
