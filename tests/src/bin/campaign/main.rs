//! The fault campaign on the local stack, which `cargo xtask states` and `cargo xtask soak` bring up: every state of both state
//! machines with every fault, and users who work at random while everything fails at random.
//!
//! Exits non-zero if anything is lost, doubled or left behind.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its environment and this machine's clock, and writes SQL of its own"
)]
#![allow(clippy::print_stdout, reason = "a command's output")]

mod api;
mod gate;
mod local;
mod operator;
mod processes;
mod rest;
mod soak;
mod states;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What fails here is for the person who runs the campaign.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Let everything fail, and see what comes of it.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    layer: Layer,
}

#[derive(Debug, Subcommand)]
enum Layer {
    /// Every state with every fault
    States {
        #[arg(long)]
        state: Option<String>,
        #[arg(long)]
        fault: Option<String>,
        /// Where `stack/` is, and the journal comes
        directory: PathBuf,
    },
    /// Users at work, and faults, by a seed
    Soak {
        seed: u64,
        minutes: u64,
        #[arg(long)]
        long: bool,
        /// Where `stack/` is, and the journal comes
        directory: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().layer {
        Layer::States { state, fault, directory } => {
            states::run(&directory, state.as_deref(), fault.as_deref()).await
        }
        Layer::Soak { seed, minutes, long, directory } => soak::run(&directory, seed, minutes, long).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
