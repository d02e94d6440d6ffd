//! `cargo xtask bench`: imports a generated workload with the functions' own code and measures every stage, beside the
//! old way, pgloader and the physical limits of the same server.
//!
//! The functions run in worker processes, as on Lambda and with its memory, from an S3 server in this one; PostgreSQL is
//! the private one that xtask has started. Exits non-zero only when a count is wrong, never because of a time.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its environment and this machine's clock, and writes SQL of its own"
)]
#![allow(clippy::print_stdout, reason = "a command's output")]

mod baseline;
mod batch;
mod cost;
mod database;
mod http;
mod import;
mod limit;
mod machine;
mod measured;
mod operator;
mod peer;
mod plain;
mod plot;
mod production;
mod readers;
mod report;
mod run;
mod space;
mod targets;
mod template;
mod transitions;
mod wire;
mod worker;

use production::Production;

use clap::{Parser, ValueEnum};
use std::process::ExitCode;

/// Measure an import, stage by stage.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// The full workload: 15,520,410 rows in 63 files against 5,356,971 existing codes
    #[arg(long)]
    full: bool,
    /// The workload at so many rows, with the same shares
    #[arg(long, conflicts_with = "full")]
    rows: Option<u64>,
    /// Load and mark in so many processes at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    streams: u8,
    /// Measure the import so many times and report the medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    runs: u8,
    /// Leave out what is measured beside the import
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Part>,
    /// Import into an application's own table of codes, which is adopted before
    #[arg(long, conflicts_with_all = ["scale", "http"])]
    adopted: bool,
    /// The old way and pgloader with the whole workload too, not with a fifth
    #[arg(long)]
    baseline_full: bool,
    /// Ours at 1, 2, 4, 8 and 15.5 million rows instead, and the plot of the cost of a row in target/benchmark.svg
    #[arg(long, conflicts_with_all = ["full", "rows", "runs", "without", "baseline_full"])]
    scale: bool,
    /// With --scale: other sizes
    #[arg(long, value_delimiter = ',', requires = "scale")]
    sizes: Option<Vec<u64>>,
    /// With --scale: copy the plot to docs/benchmark.svg
    #[arg(long, requires = "scale")]
    publish: bool,
    /// Measure the idempotent HTTP functions instead: creates, replays, names that are taken
    #[arg(long, conflicts_with_all = ["full", "rows", "scale"])]
    http: bool,
    /// Build the functions for release and measure their sizes and cold starts instead
    // xtask does it, before it comes to this program.
    #[arg(long)]
    #[allow(dead_code, reason = "xtask answers it")]
    cold: bool,
    /// Serve a function's invocations from standard input (used by the benchmark itself)
    #[arg(long, hide = true)]
    worker: bool,
}

/// What can be measured beside the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The old way
    Baseline,
    /// The load of pgloader
    Peer,
    /// The server's physical limits
    Limit,
    /// Readers and claims during the insert
    Readers,
}

/// The quick workload: a tenth of the full one.
const QUICK_ROWS: u64 = run::FULL_ROWS / 10;

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: Arguments) -> Outcome<()> {
    if arguments.worker {
        return worker::serve().await;
    }
    if arguments.http {
        return http::run().await;
    }
    if arguments.scale {
        return run::scale(arguments.sizes, usize::from(arguments.streams), arguments.publish).await;
    }
    let mut parts = vec![Part::Baseline, Part::Peer, Part::Limit, Part::Readers];
    parts.retain(|part| !arguments.without.contains(part));
    let production = if arguments.adopted { Production::of_application()? } else { Production::own() };
    let rows = if arguments.full { run::FULL_ROWS } else { arguments.rows.unwrap_or(QUICK_ROWS) };
    run::run(&run::Options {
        rows,
        streams: usize::from(arguments.streams),
        runs: usize::from(arguments.runs),
        production,
        parts,
        baseline_full: arguments.baseline_full,
    })
    .await
}

/// A benchmark's failure: for the person who runs it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
