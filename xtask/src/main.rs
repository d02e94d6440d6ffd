//! `cargo xtask`: the developer's command line.

#![warn(unreachable_pub, clippy::allow_attributes_without_reason)]

use std::error::Error as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::stack::{self, Options};
use xtask::{
    Error, Result, bench, demo, faults, fuzz, generate, interrupt, project, say, soak, statemachine, test,
};

/// Onceload's developer commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Onceload on this machine: PostgreSQL, a local AWS engine and the functions
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
    Faults(faults::FaultsArgs),
    Fuzz(fuzz::FuzzArgs),
    Soak(soak::SoakArgs),
    States(soak::StatesArgs),
    Generate(generate::GenerateArgs),
    /// Write the state machines that are deployed from statemachine/machines.yaml
    Statemachine,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match project::find_root().and_then(|_| interrupt::install()).and_then(|()| run(&arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        // The summary of `cargo test` has named the failures, and stays the last output.
        Err(Error::TestsFailed(_)) => ExitCode::FAILURE,
        Err(Error::Interrupted) => {
            say::line("Interrupted.");
            ExitCode::from(130)
        }
        Err(error) => {
            let mut message = format!("error: {error}");
            let mut cause = error.source();
            while let Some(deeper) = cause {
                message += &format!(": {deeper}");
                cause = deeper.source();
            }
            say::line(message);
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
            let mut was_running = false;
            for directory in [project::local(), project::adopted()] {
                was_running |= stack::down(&directory, *wipe)?;
            }
            say::line(if was_running { "Stopped." } else { "Nothing was running." });
            if *wipe {
                say::line("The local database has been removed.");
            }
            Ok(())
        }
        Command::Demo(args) => demo::run(args),
        Command::Test(args) => test::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Faults(args) => faults::run(args),
        Command::Fuzz(args) => fuzz::run(args),
        Command::Soak(args) => soak::soak(args),
        Command::States(args) => soak::states(args),
        Command::Generate(args) => generate::run(args),
        Command::Statemachine => statemachine::write(),
    }
}
