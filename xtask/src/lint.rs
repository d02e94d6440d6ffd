//! Checks that need no running server: formatting, clippy, dependencies, names, the template, the state machines.

mod house;
mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::deploy::Request;
use crate::python::Python;
use crate::{Error, Result, contract, dependencies, documents, node, process, project, say, statemachine};

type Check = (&'static str, fn() -> Result<()>);

/// Runs every check and reports each failure; true if none failed.
pub fn run() -> Result<bool> {
    let checks: &[Check] = &[
        ("rustfmt", rustfmt),
        ("clippy", clippy),
        ("cargo doc", documentation),
        ("dependencies", dependencies::check),
        ("names", names::check),
        ("rooms", house::check),
        ("paths in documents", documents::check),
        ("template.yaml", template),
        ("state machines", state_machines),
        ("docs/client", client),
    ];
    let mut good = true;
    for (name, check) in checks {
        let step = say::step(format!("Checking: {name}"));
        match check() {
            Ok(()) => step.done("passed"),
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

/// Private items, too: most links stand between those.
fn documentation() -> Result<()> {
    let mut cargo = project::cargo();
    cargo.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    process::run_well(cargo.env("RUSTDOCFLAGS", "-D warnings"))
}

/// template.yaml as written and as CloudFormation receives it, and its routes in docs/openapi.yaml.
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
    contract::compare_routes(&python, &cloudformation)
}

/// The definitions are those of the source, and valid Amazon States Language.
fn state_machines() -> Result<()> {
    statemachine::check()?;
    let validator = node::provide("asl-validator/dist/bin/asl-validator.js")?;
    for definition in &statemachine::definitions()? {
        process::run_well(Command::new("node").arg(&validator).arg("--json-path").arg(definition))?;
    }
    Ok(())
}

fn client() -> Result<()> {
    node::compile_client().map(drop)
}
