//! Installs pinned npm packages under `target/node`: the linter of state machines and the TypeScript compiler.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Context, Result, apt, process, project};

const PACKAGES: [&str; 2] = ["asl-validator@4.0.0", "typescript@5.9.3"];

/// Returns a file of a package, and installs the packages if necessary.
pub(crate) fn provide(file: &str) -> Result<PathBuf> {
    let directory = project::target().join("node");
    let stamp = directory.join("installed.txt");
    let program = directory.join("node_modules").join(file);
    if fs::read_to_string(&stamp).is_ok_and(|text| text == PACKAGES.join("\n")) && program.exists() {
        return Ok(program);
    }
    let npm = Command::new("npm").arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    if !npm.is_ok_and(|status| status.success()) {
        apt::install(&["nodejs", "npm"], "some checks need Node.js with npm")?;
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

/// Type-checks and compiles docs/client/onceload.ts, and returns the JavaScript module.
pub(crate) fn compile_client() -> Result<PathBuf> {
    let compiler = provide("typescript/bin/tsc")?;
    let to = project::target().join("client");
    fs::create_dir_all(&to).context(|| format!("create {}", to.display()))?;
    // Tells Node.js the kind of the module.
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
