//! `cargo xtask bench`: the measurements, on a private PostgreSQL with a benchmark's memory and log space.

mod cold;

use std::process::Stdio;

use clap::Args;

use crate::postgres::{ROLE, Settings};
use crate::{Result, process, project, stack};

#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Handed to the benchmark; `--help` lists what it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs the benchmark; its database is gone afterwards.
pub fn run(args: &BenchArgs) -> Result<()> {
    if args.rest.iter().any(|arg| arg == "--cold") {
        return cold::run();
    }
    let directory = project::target().join("bench");
    // Without `--package`, which would choose other features of what is built for the workspace already.
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
            // The functions' metrics, a line for each request; the report is on standard error.
            bench.stdout(Stdio::null());
        }
        process::run_well(&mut bench)
    });
    let stopped = stack::down(&directory, true);
    measured?;
    stopped.map(drop)
}
