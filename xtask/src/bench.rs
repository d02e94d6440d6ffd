//! `cargo xtask bench`: runs the benchmark on a private PostgreSQL with more memory and log space than the tests have.

mod cold;
mod pgloader;

use std::process::Stdio;

use clap::Args;

pub use self::pgloader::find_pgloader;
use crate::postgres::{ROLE, Settings};
use crate::{Result, process, project, stack};

#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Arguments for the benchmark; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs the benchmark, and removes its database afterwards.
pub fn run(args: &BenchArgs) -> Result<()> {
    if args.rest.iter().any(|arg| arg == "--cold") {
        return cold::run();
    }
    let directory = project::target().join("bench");
    // No `--package`: it would select other features of dependencies that the workspace has already built.
    process::run_well(project::cargo().args(["build", "--release", "--bin", "bench"]))?;
    stack::down(&directory, true)?;
    let measured = stack::start_database(&directory, &Settings::bench()).and_then(|database| {
        let mut bench = project::cargo();
        bench
            .args(["run", "--release", "--quiet", "--bin", "bench", "--"])
            .args(&args.rest)
            .env("ONCELOAD_TEST_DATABASE_URL", database.admin_url())
            .env("ONCELOAD_TEST_ROLE", ROLE)
            .env("ONCELOAD_TEST_PG_BIN", &database.bin);
        if args.rest.iter().any(|arg| arg == "--http") {
            // The functions print a line of metrics per request. The report goes to standard error.
            bench.stdout(Stdio::null());
        }
        process::run_well(&mut bench)
    });
    let stopped = stack::down(&directory, true);
    measured?;
    stopped.map(drop)
}
