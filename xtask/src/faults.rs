//! `cargo xtask faults`: runs the campaign of faults on servers of its own.

use std::process::Stdio;

use clap::Args;

use crate::postgres::{ROLE, Settings};
use crate::{Error, Result, process, project, say, stack};

/// Take away one message after the other, and compare what is there after the repetition
#[derive(Clone, Debug, Args)]
pub struct FaultsArgs {
    /// Run the campaign behind PgBouncer as well
    #[arg(long)]
    pooled: bool,
    /// Arguments for the campaign: `--only <step> --cut <number> --fault <kind>`; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs the campaign. Fails if a promise was broken.
pub fn run(args: &FaultsArgs) -> Result<()> {
    // The whole workspace: a selection of packages would compile their dependencies with other features.
    process::run_well(project::cargo().args(["build", "--workspace", "--bin", "faults", "--bin", "step"]))?;
    let directory = project::target().join("faults");
    stack::down(&directory, true)?;
    let outcome = on_servers(&directory, args);
    let stopped = stack::down(&directory, true);
    let failed = outcome?;
    stopped?;
    if failed.is_empty() { Ok(()) } else { Err(Error::TestsFailed(failed.join(", "))) }
}

fn on_servers(directory: &std::path::Path, args: &FaultsArgs) -> Result<Vec<&'static str>> {
    let database = stack::start_database(directory, &Settings::test())?;
    let campaign = |pooler: Option<String>| {
        let mut program = std::process::Command::new(project::target().join("debug/faults"));
        program
            .args(&args.rest)
            .env("ONCELOAD_TEST_DATABASE_URL", database.admin_url())
            .env("ONCELOAD_TEST_ROLE", ROLE)
            .env("ONCELOAD_TEST_PG_BIN", &database.bin)
            .envs(pooler.map(|url| ("ONCELOAD_TEST_PGBOUNCER_URL", url)))
            .stdin(Stdio::null())
            // The functions print a line of metrics per request. The report goes to standard error.
            .stdout(Stdio::null());
        Ok::<_, Error>(process::run(&mut program)?.success())
    };
    let mut failed = Vec::new();
    say::line("Faults on PostgreSQL");
    if !campaign(None)? {
        failed.push("faults");
    }
    if args.pooled {
        say::line("Faults on PostgreSQL behind PgBouncer in transaction mode");
        let pooler = stack::start_pooler(directory, &database)?;
        if !campaign(Some(pooler.admin_url()))? {
            failed.push("faults behind PgBouncer");
        }
    }
    Ok(failed)
}
