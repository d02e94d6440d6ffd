//! `cargo xtask test`: runs every check and every test, on servers of its own that it stops and removes afterwards.
//!
//! What it says itself goes to standard error before each `cargo test`, so that the last lines are the summary of
//! `cargo test`.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::Path;

use clap::{Args, ValueEnum};

use crate::postgres::{Pooler, Postgres, ROLE, Settings};
use crate::python::Python;
use crate::stack::{self, Options};
use crate::{Error, Result, contract, functions, lint, node, process, project, say, size};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Checks that start nothing: formatting, clippy, documentation, dependencies, template, state machines
    Lint,
    /// The size of the largest function, built for release
    Size,
    /// Unit tests, and tests of the functions on a real PostgreSQL
    Unit,
    /// End-to-end tests on the local AWS engine
    E2e,
}

#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// Run one part only
    #[arg(long)]
    only: Option<Part>,
    /// Run only the tests whose names contain this text
    #[arg(requires = "only")]
    name: Option<String>,
    /// With a name: run the tests of the functions behind PgBouncer, on an application's own table, as well
    #[arg(long, requires = "name")]
    pooled: bool,
    /// Arguments for `cargo test`, such as `-- --nocapture`
    #[arg(last = true)]
    rest: Vec<String>,
}

impl TestArgs {
    /// The same for the tests that are `ignored` because they need to be alone.
    fn ignored(&self) -> Self {
        let mut args = self.clone();
        if !args.rest.iter().any(|it| it == "--") {
            args.rest.push("--".into());
        }
        args.rest.extend(["--ignored".into(), "--test-threads=1".into()]);
        args
    }

    /// Whether every test of a part runs.
    fn is_complete(&self) -> bool {
        self.name.is_none() && self.rest.is_empty()
    }
}

/// Runs the checks and the tests. Fails if any of them failed.
pub fn run(args: &TestArgs) -> Result<()> {
    if let (Some(name), Some(Part::Lint | Part::Size)) = (&args.name, args.only) {
        return Err(Error::advice(format!(
            "only `--only unit` and `--only e2e` have tests such as `{name}`"
        )));
    }
    let wants = |part| args.only.is_none_or(|only| only == part);
    let mut failed = Vec::new();
    if wants(Part::Lint) && !lint::run()? {
        failed.push("lint");
    }
    if wants(Part::Size) && !size::run()? {
        failed.push("size");
    }
    if wants(Part::Unit) || wants(Part::E2e) {
        // Not a file of the directory, which goes when a run begins.
        let _one_at_a_time = stack::lock_file(&project::target().join("test.lock"))?;
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
        say::line("Unit tests, and tests of the functions on PostgreSQL");
        if !cargo_test(
            &["--lib", "--bin", "bench", "--bin", "campaign", "--test", "functions"],
            &database,
            &[],
            args,
        )? {
            failed.push("unit");
        }
        if args.name.is_some() && !args.pooled {
            say::line(
                "Left out: the same tests behind PgBouncer, on an application's own table. `--pooled` runs them, too.",
            );
        } else {
            say::line(
                "Tests of the functions behind PgBouncer in transaction mode, on an application's own table of codes",
            );
            let pooler = stack::start_pooler(directory, &database)?;
            let adopted = ("ONCELOAD_TEST_ADOPTED", "1".to_owned());
            if !cargo_test(&["--test", "functions"], &database, &[behind(&pooler), adopted], args)? {
                failed.push("unit behind PgBouncer, on an application's own table");
            }
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
        say::line("End-to-end tests");
        let stack = ("ONCELOAD_STACK", directory.join("stack.json").to_string_lossy().into_owned());
        let client = ("ONCELOAD_CLIENT", node::compile_client()?.to_string_lossy().into_owned());
        let command_line = ("ONCELOAD_CLI", functions::build_command_line()?.to_string_lossy().into_owned());
        let servers = [behind(&pooler), stack, client, command_line];
        if !cargo_test(&["--test", "e2e"], &database, &servers, args)? {
            failed.push("e2e");
        }
        say::line("End-to-end tests that stop what the others use");
        if !cargo_test(&["--test", "e2e"], &database, &servers, &args.ignored())? {
            failed.push("e2e, alone");
        }
        let python = Python::provide()?;
        // Only all of the tests together receive every documented answer.
        let all = args.is_complete();
        if !contract::compare_answers(&python, directory, all)? {
            failed.push("docs/openapi.yaml");
        }
        if !all {
            say::line("Left out: answers that no test received, and Schemathesis. They need every test.");
        } else if !contract::run_schemathesis(&python, directory)? {
            failed.push("schemathesis");
        }
    }
    Ok(())
}

/// The variable that makes the functions under test connect through the pooler.
fn behind(pooler: &Pooler) -> (&'static str, String) {
    ("ONCELOAD_TEST_PGBOUNCER_URL", pooler.admin_url())
}

/// Runs `cargo test` with the servers' addresses in its environment. Returns whether all tests passed.
fn cargo_test(what: &[&str], database: &Postgres, more: &[(&str, String)], args: &TestArgs) -> Result<bool> {
    let mut cargo = project::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(what)
        .args(&args.name)
        .args(&args.rest)
        // The superuser's, for CREATE DATABASE. The ordinary role has the same password.
        .env("ONCELOAD_TEST_DATABASE_URL", database.admin_url())
        .env("ONCELOAD_TEST_ROLE", ROLE)
        .env("ONCELOAD_TEST_PG_BIN", &database.bin)
        .env("RUST_TEST_THREADS", threads())
        .envs(more.iter().map(|(name, value)| (name, value)));
    Ok(process::run(&mut cargo)?.success())
}

/// How many tests run at the same time: twice as many as there are processors, because most tests wait more than they
/// compute. The developer's own RUST_TEST_THREADS wins.
fn threads() -> OsString {
    let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
    std::env::var_os("RUST_TEST_THREADS").unwrap_or_else(|| (2 * processors).to_string().into())
}
