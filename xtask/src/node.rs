//! Programs from npm, pinned, under `target/node`: the state machines' linter, and the compiler of the client recipe.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Context, Result, apt, process, project};

const PACKAGES: [&str; 2] = ["asl-validator@4.0.0", "typescript@5.9.3"];

/// The file of a package, installed now if it is not there.
pub fn provide(file: &str) -> Result<PathBuf> {
    let directory = project::target().join("node");
    let stamp = directory.join("installed.txt");
    let program = directory.join("node_modules").join(file);
    if fs::read_to_string(&stamp).is_ok_and(|text| text == PACKAGES.join("\n")) && program.exists() {
        return Ok(program);
    }
    let npm = Command::new("npm").arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    if !npm.is_ok_and(|status| status.success()) {
        apt::install(&["nodejs", "npm"], "Node.js with npm is needed for some of the checks")?;
    }
    fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let mut install = Command::new("npm");
    install
        .args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
        .arg(&directory)
        .args(PACKAGES);
    process::run_logged(&mut install, &directory.join("npm.log"))?;
    fs::write(&stamp, PACKAGES.join("\n")).context(|| format!("write {}", stamp.display()))?;
    Ok(program)
}

/// Type-checks and compiles docs/client/onceload.ts; answers the JavaScript module.
pub fn client() -> Result<PathBuf> {
    let compiler = provide("typescript/bin/tsc")?;
    let to = project::target().join("client");
    fs::create_dir_all(&to).context(|| format!("create {}", to.display()))?;
    // Else Node.js guesses what kind of module it is.
    let package = to.join("package.json");
    fs::write(&package, r#"{"type":"module"}"#).context(|| format!("write {}", package.display()))?;
    let mut compile = Command::new("node");
    compile
        .arg(compiler)
        .args(["--strict", "--noUnusedLocals", "--noUnusedParameters", "--noImplicitReturns"])
        .args(["--target", "es2022", "--module", "es2022", "--lib", "es2022,dom", "--outDir"])
        .arg(&to)
        .arg(project::root().join("docs/client/onceload.ts"));
    process::run_well(&mut compile)?;
    Ok(to.join("onceload.js"))
}
