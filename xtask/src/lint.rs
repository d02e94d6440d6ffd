//! Checks that need no running thing: formatting, clippy, the template before and after SAM, the state machines.

mod names;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::deploy::Request;
use crate::python::Python;
use crate::{Context, Error, Result, contract, dependencies, node, process, project, say};

type Check = (&'static str, fn() -> Result<()>);

/// Runs every check and says which failed; true if none did.
pub fn run() -> Result<bool> {
    let checks: &[Check] = &[
        ("rustfmt", rustfmt),
        ("clippy", clippy),
        ("dependencies", dependencies::check),
        ("names", names::check),
        ("template.yaml", template),
        ("state machines", state_machines),
        ("docs/client", client),
    ];
    let mut good = true;
    for (name, check) in checks {
        let step = say::step(format!("Checking: {name}"));
        match check() {
            Ok(()) => step.done("good"),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                step.done(format_args!("FAILED: {error}"));
                good = false;
            }
        }
    }
    Ok(good)
}

fn rustfmt() -> Result<()> {
    let listed = process::run_well(project::cargo().args(["fmt", "--all", "--", "--check", "-l"]));
    listed.map_err(|error| match error {
        Error::Program { .. } => Error::advice("these files are not formatted: `cargo fmt --all`"),
        other => other,
    })
}

fn clippy() -> Result<()> {
    process::run_well(project::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The template as it is written, what CloudFormation gets to see of it, and its routes in docs/openapi.yaml.
fn template() -> Result<()> {
    let python = Python::provide()?;
    let lint = |path: &Path| {
        let mut command = Command::new(python.program("cfn-lint"));
        process::run_well(command.arg(path).current_dir(project::root()))
    };
    lint(&project::root().join("template.yaml"))?;
    let binaries: BTreeMap<String, PathBuf> =
        project::functions()?.into_iter().map(|name| (name.clone(), name.into())).collect();
    let cloudformation = Request::offline(&project::target().join("lint"), binaries).transform(&python)?;
    lint(&cloudformation)?;
    contract::routes(&python, &cloudformation)
}

fn state_machines() -> Result<()> {
    let definitions = definitions()?;
    let validator = node::provide("asl-validator/dist/bin/asl-validator.js")?;
    for definition in &definitions {
        process::run_well(Command::new("node").arg(&validator).arg("--json-path").arg(definition))?;
    }
    Ok(())
}

fn client() -> Result<()> {
    node::client().map(drop)
}

fn definitions() -> Result<Vec<PathBuf>> {
    let directory = project::root().join("statemachine");
    let entries = fs::read_dir(&directory).context(|| format!("list {}", directory.display()))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.retain(|path| path.to_string_lossy().ends_with(".asl.json"));
    all.sort();
    Ok(all)
}
