//! `cargo xtask bench`: runs the benchmark on a private PostgreSQL with more memory and log space than the tests have.

mod cold;

use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;

use crate::postgres::{ROLE, Settings};
use crate::{Result, apt, process, project, stack};

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
    let measured =
        stack::start_database(&directory, &Settings::bench(log_gigabytes(&args.rest))).and_then(|database| {
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

/// Finds pgloader, which the benchmark compares the load with, or installs it.
pub fn find_pgloader() -> Result<PathBuf> {
    apt::find_or_install("pgloader", "the benchmark compares the load with pgloader, which is not installed")
}

/// Log space that holds what an import writes, so that no checkpoint falls into a stage; a quarter of that above 25 million rows,
/// which need the disk for themselves.
fn log_gigabytes(rest: &[String]) -> u64 {
    let value = |(n, arg): (usize, &String)| match arg.strip_prefix("--rows")?.strip_prefix('=') {
        Some(value) => value.parse::<u64>().ok(),
        None => rest.get(n + 1)?.parse().ok(),
    };
    let rows = rest.iter().enumerate().find_map(value);
    if rows.is_some_and(|rows| rows > 25_000_000) { 4 } else { 16 }
}

#[cfg(test)]
mod tests {
    use super::log_gigabytes;

    #[test]
    fn many_rows_get_less_log() {
        let log = |line: &str| log_gigabytes(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(log("--full --runs 3"), 16);
        assert_eq!(log("--rows 21340000"), 16);
        assert_eq!(log("--adopted --rows 50000000"), 4);
        assert_eq!(log("--rows=50000000 --without limit"), 4);
    }
}
