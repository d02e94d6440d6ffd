//! `cargo xtask`: what a developer runs.

use std::error::Error as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::stack::{self, Options};
use xtask::{Error, Result, bench, demo, generate, interrupt, project, say, test};

/// Onceload's developer commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Onceload on this machine: PostgreSQL, local AWS, functions; a second time it is quick
    Up,
    /// Stop what `up` started
    Down {
        /// Remove the database as well
        #[arg(long)]
        wipe: bool,
    },
    Demo(demo::DemoArgs),
    /// Run every check and every test
    Test(test::TestArgs),
    /// Measure imports of millions of rows
    Bench(bench::BenchArgs),
    Generate(generate::GenerateArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match interrupt::install().and_then(|()| run(&arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        // The runner's own summary has said it, and is the last thing to be read.
        Err(Error::TestsFailed(_)) => ExitCode::FAILURE,
        Err(Error::Interrupted) => {
            say::line("Interrupted.");
            ExitCode::from(130)
        }
        Err(error) => {
            let mut words = format!("error: {error}");
            let mut cause = error.source();
            while let Some(deeper) = cause {
                words += &format!(": {deeper}");
                cause = deeper.source();
            }
            say::line(words);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Up => {
            stack::up(&project::local(), &Options::default())?.describe();
            Ok(())
        }
        Command::Down { wipe } => {
            let ran = stack::down(&project::local(), *wipe)?;
            say::line(if ran { "Stopped." } else { "Nothing was running." });
            if *wipe {
                say::line("The local database is removed.");
            }
            Ok(())
        }
        Command::Demo(args) => demo::run(args),
        Command::Test(args) => test::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Generate(args) => generate::run(args),
    }
}
