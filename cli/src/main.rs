//! `onceload`: the operator's command line. Talks to the HTTP API and to signed links, to nothing else.

mod api;
mod args;
mod check;
mod commands;
mod config;
mod confirm;
mod export;
mod failure;
mod follow;
mod import;
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
        Ok(Said { document, text }) => {
            print(if json { document.to_string() } else { text });
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if json {
                print(failure.to_json().to_string());
            } else {
                // Where nobody listens to our errors, there is nobody to tell.
                let _ = writeln!(std::io::stderr(), "{failure}");
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// What a command says in the end: to a script or to a person.
pub struct Said {
    pub document: Value,
    pub text: String,
}

fn run(cli: Cli) -> Outcome<Said> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "onceload", &mut script);
        let text = String::from_utf8_lossy(&script).into_owned();
        return Ok(Said { document: Value::String(text.clone()), text });
    }
    let session = Session::open(&cli.global)?;
    match cli.command {
        Command::Check(args) => check::check(&session, &args),
        Command::Import(args) => import::import(&session, &args),
        Command::Status(args) => commands::status(&session, &args),
        Command::Approve(args) => commands::approve(&session, &args),
        Command::Cancel(args) => commands::cancel(&session, &args),
        Command::Retry(args) => commands::retry(&session, &args),
        Command::Rollback(args) => commands::rollback(&session, &args),
        Command::Verify(args) => commands::verify(&session, &args),
        Command::Export(args) => export::export(&session, &args),
        Command::Clear(args) => commands::clear(&session, &args),
        Command::History(args) => commands::history(&session, &args),
        Command::Completions { .. } => Ok(Said { document: Value::Null, text: String::new() }),
    }
}

fn print(text: String) {
    let text = text.trim_end();
    if !text.is_empty() {
        // A reader that has gone, such as `head`, is no error of ours.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}
