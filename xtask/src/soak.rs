//! `cargo xtask soak` and `cargo xtask states`: run the service on a stack of its own while everything around it fails, and check
//! that nothing is lost, doubled or left behind. `tests/src/bin/campaign/` does the work.

use std::path::Path;

use clap::Args;

use crate::postgres::Settings;
use crate::stack::{self, Options};
use crate::{Context, Error, Result, process, project};

/// Let users work at random while everything fails at random, then check that all comes to rest
#[derive(Clone, Debug, Args)]
pub struct SoakArgs {
    /// What is done and what fails, and in which order, comes from this number
    #[arg(long)]
    seed: u64,
    /// For how long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Outages of up to ten minutes, instead of up to a minute
    #[arg(long)]
    long: bool,
    #[command(flatten)]
    stack: StackArgs,
}

/// Let each step of both state machines fail in every way, one at a time
#[derive(Clone, Debug, Args)]
pub struct StatesArgs {
    /// Only states whose names, such as `import.Validate`, contain this text
    #[arg(long)]
    state: Option<String>,
    /// Only this fault
    #[arg(long)]
    fault: Option<String>,
    #[command(flatten)]
    stack: StackArgs,
}

#[derive(Clone, Debug, Args)]
struct StackArgs {
    /// The functions connect through PgBouncer in transaction mode
    #[arg(long)]
    pooled: bool,
    /// Keep the stack's logs and data, also after a success
    #[arg(long)]
    keep: bool,
}

pub fn soak(args: &SoakArgs) -> Result<()> {
    let mut rest = vec!["soak".to_owned(), args.seed.to_string(), args.minutes.to_string()];
    if args.long {
        rest.push("--long".to_owned());
    }
    let pooled = if args.stack.pooled { "-pooled" } else { "" };
    let directory = project::target().join("soak").join(format!("{}{pooled}", args.seed));
    run(&directory, &args.stack, &rest)
}

pub fn states(args: &StatesArgs) -> Result<()> {
    let mut rest = vec!["states".to_owned()];
    for (name, value) in [("--state", &args.state), ("--fault", &args.fault)] {
        rest.extend(value.iter().flat_map(|value| [name.to_owned(), value.clone()]));
    }
    let pooled = if args.stack.pooled { "states-pooled" } else { "states" };
    run(&project::target().join(pooled), &args.stack, &rest)
}

/// Brings up a stack in `directory`, runs the campaign on it, and stops it. The campaign's own files stay beside the stack's.
fn run(directory: &Path, args: &StackArgs, rest: &[String]) -> Result<()> {
    process::run_well(project::cargo().args(["build", "--workspace", "--bin", "campaign"]))?;
    let stack = directory.join("stack");
    stack::down(&stack, true)?;
    let outcome = on_stack(directory, &stack, args, rest);
    let stopped = stack::down(&stack, outcome.is_ok() && !args.keep);
    outcome?;
    stopped.map(drop)
}

fn on_stack(directory: &Path, stack: &Path, args: &StackArgs, rest: &[String]) -> Result<()> {
    // The engine looks for it when it starts.
    let gate = stack.join("gate");
    std::fs::create_dir_all(&gate).context(|| format!("create {}", gate.display()))?;
    let postgres = stack::start_database(stack, &Settings::test())?;
    if args.pooled {
        stack::start_pooler(stack, &postgres)?;
    }
    let options = Options { settings: Settings::test(), pooled: args.pooled, ..Options::default() };
    stack::up(stack, &options)?;
    let mut campaign = project::cargo();
    campaign.args(["run", "--quiet", "--bin", "campaign", "--"]).args(rest).arg(directory);
    if process::run(&mut campaign)?.success() {
        Ok(())
    } else {
        Err(Error::TestsFailed(format!("{}: see {}", rest.join(" "), directory.display())))
    }
}
