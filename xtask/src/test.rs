//! `cargo xtask test`: every check and every test, on servers of its own that are gone afterwards.
//!
//! Our own account goes to standard error before each run of `cargo test`, so that the last lines are its summary.

use std::path::Path;

use clap::{Args, ValueEnum};

use crate::postgres::{Pooler, Postgres, ROLE, Settings};
use crate::python::Python;
use crate::stack::{self, Options};
use crate::{Error, Result, contract, functions, lint, node, process, project, say, size};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Formatting, clippy, template, state machines
    Lint,
    /// The largest function built for release, and how large it is
    Size,
    /// Unit tests, and every function on a real PostgreSQL
    Unit,
    /// The whole service on the local engine
    E2e,
}

#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// Run one part only
    #[arg(long)]
    only: Option<Part>,
    /// Handed to `cargo test`, such as a test's name or `-- --nocapture`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the tests; an error if any failed.
pub fn run(args: &TestArgs) -> Result<()> {
    let wants = |part| args.only.is_none_or(|only| only == part);
    let mut failed = Vec::new();
    if wants(Part::Lint) && !lint::run()? {
        failed.push("lint");
    }
    if wants(Part::Size) && !size::run()? {
        failed.push("size");
    }
    if wants(Part::Unit) || wants(Part::E2e) {
        let directory = project::target().join("test");
        stack::down(&directory, true)?;
        let outcome = on_servers(&directory, args, &mut failed);
        let stopped = stack::down(&directory, outcome.is_ok() && failed.is_empty());
        outcome?;
        stopped?;
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::TestsFailed(failed.join(", "))) }
}

fn on_servers(directory: &Path, args: &TestArgs, failed: &mut Vec<&'static str>) -> Result<()> {
    let wants = |part| args.only.is_none_or(|only| only == part);
    let settings = Settings::test();
    let database = stack::start_database(directory, &settings)?;
    if wants(Part::Unit) {
        // Tests that kill a function start its process.
        functions::build()?;
        say::line("Unit tests, and functions on PostgreSQL");
        if !cargo_test(&["--lib", "--bin", "bench", "--test", "functions"], &database, &[], args)? {
            failed.push("unit");
        }
        say::line("Functions on PostgreSQL behind PgBouncer in transaction mode");
        let pooler = stack::start_pooler(directory, &database)?;
        if !cargo_test(&["--test", "functions"], &database, &[behind(&pooler)], args)? {
            failed.push("unit behind PgBouncer");
        }
    }
    if wants(Part::E2e) {
        let parameters = [("CorsAllowedOrigins".to_owned(), "https://app.example.com".to_owned())].into();
        let options = Options { settings, pooled: true, parameters };
        let pooler = stack::start_pooler(directory, &database)?;
        stack::up(directory, &options)?;
        if !failed.is_empty() {
            say::line(format_args!("FAILED so far: {}", failed.join(", ")));
        }
        say::line("End to end");
        let stack = ("ONCELOAD_STACK", directory.join("stack.json").to_string_lossy().into_owned());
        let client = ("ONCELOAD_CLIENT", node::client()?.to_string_lossy().into_owned());
        let command_line = ("ONCELOAD_CLI", functions::command_line()?.to_string_lossy().into_owned());
        let named = [behind(&pooler), stack, client, command_line];
        if !cargo_test(&["--test", "e2e"], &database, &named, args)? {
            failed.push("e2e");
        }
        // Some of the tests see some of the answers only.
        let python = Python::provide()?;
        let all = args.rest.is_empty();
        if !contract::answers(&python, directory, all)? {
            failed.push("docs/openapi.yaml");
        }
        if all && !contract::schemathesis(&python, directory)? {
            failed.push("schemathesis");
        }
    }
    Ok(())
}

/// Tells the tests that what they start reaches the database through the pooler.
fn behind(pooler: &Pooler) -> (&'static str, String) {
    ("ONCELOAD_TEST_PGBOUNCER_URL", pooler.admin_url())
}

/// Runs `cargo test` with the servers in its environment; true if all passed.
fn cargo_test(what: &[&str], database: &Postgres, more: &[(&str, String)], args: &TestArgs) -> Result<bool> {
    let mut cargo = project::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(what)
        .args(&args.rest)
        // The superuser, for CREATE DATABASE; the ordinary role has the same password.
        .env("ONCELOAD_TEST_DATABASE_URL", database.admin_url())
        .env("ONCELOAD_TEST_ROLE", ROLE)
        .env("ONCELOAD_TEST_PG_BIN", &database.bin)
        .envs(more.iter().map(|(name, value)| (name, value)));
    Ok(process::run(&mut cargo)?.success())
}
