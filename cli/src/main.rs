//! `onceload`: the operator's command line. It talks only to the HTTP API and to signed links.

#![warn(unreachable_pub, clippy::allow_attributes_without_reason)]

mod api;
mod args;
mod check;
mod commands;
mod config;
mod confirm;
mod export;
mod failure;
// One rule for every door, and no other reason to depend on the functions' crates.
#[path = "../../shared/src/domain/file_name.rs"]
#[expect(unreachable_pub, reason = "it is public in `shared`, where it stands")]
mod file_name;
mod findings;
mod follow;
mod import;
mod links;
mod mend;
mod terminal;
mod upload;
mod words;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use commands::Session;
use failure::Outcome;
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    match run(cli) {
        Ok(Output { document, text }) => {
            print(&if json { terminal::json(&document.to_string()) } else { terminal::lines(&text) });
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if json {
                print(&terminal::json(&failure.to_json().to_string()));
            } else {
                // If standard error is closed, the exit code is all that is left to report.
                let _ = writeln!(std::io::stderr(), "{}", terminal::lines(&failure.to_string()));
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// The result of a command, for scripts and for people.
pub struct Output {
    pub document: Value,
    pub text: String,
}

fn run(cli: Cli) -> Outcome<Output> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "onceload", &mut script);
        let text = String::from_utf8_lossy(&script).into_owned();
        return Ok(Output { document: Value::String(text.clone()), text });
    }
    let session = Session::open(&cli.global)?;
    match cli.command {
        Command::Check(args) => check::check(&session, &args),
        Command::Import(args) => import::import(&session, &args),
        Command::Status(args) => commands::status(&session, &args),
        Command::Approve(args) => commands::approve(&session, &args),
        Command::Cancel(args) => commands::cancel(&session, &args),
        Command::Retry(args) => commands::retry(&session, &args),
        Command::Mend(args) => mend::mend(&session, &args),
        Command::Rollback(args) => commands::rollback(&session, &args),
        Command::Verify(args) => commands::verify(&session, &args),
        Command::Export(args) => export::export(&session, &args),
        Command::Clear(args) => commands::clear(&session, &args),
        Command::History(args) => commands::history(&session, &args),
        Command::Completions { .. } => Ok(Output { document: Value::Null, text: String::new() }),
    }
}

fn print(text: &str) {
    let text = text.trim_end();
    if !text.is_empty() {
        // A reader that closes the pipe early, such as `head`, is not an error.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}
