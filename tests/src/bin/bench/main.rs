//! `cargo xtask bench`: imports a generated workload with the functions' own code and measures every stage.
//!
//! The functions run in worker processes, as on Lambda, from an S3 server in this one; PostgreSQL is the private one
//! that xtask has started. Exits non-zero only when a count is wrong, never because of a time.

#![allow(clippy::print_stdout)]

mod database;
mod http;
mod operator;
mod report;
mod run;
mod wire;
mod worker;

use clap::Parser;
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
    #[arg(long, default_value_t = 2)]
    streams: usize,
    /// Measure the idempotent HTTP functions instead: creates, replays, names that are taken
    #[arg(long, conflicts_with_all = ["full", "rows"])]
    http: bool,
    /// Serve steps from standard input (used by the benchmark itself)
    #[arg(long, hide = true)]
    worker: bool,
}

/// The quick workload: a tenth of the full one.
const QUICK_ROWS: u64 = 1_552_041;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = if arguments.worker {
        worker::serve().await
    } else if arguments.http {
        http::run().await
    } else {
        let rows = if arguments.full { 15_520_410 } else { arguments.rows.unwrap_or(QUICK_ROWS) };
        run::run(rows, arguments.streams).await
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A benchmark's failure: for the person who runs it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
