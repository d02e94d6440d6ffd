//! Runs one step or request in a process that a test can kill: `step load-staging '{"job_id":...}'`, with the
//! environment of a function. Prints the peak of its memory.

use onceload_tests::http::{receive, request, with_key};
use serde_json::Value;
use shared::domain::step::StepError;
use shared::lambda::{App, Budget};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(step), Some(input)) = (arguments.next(), arguments.next()) else { return ExitCode::from(2) };
    let app = App::from_env(shared::db::Usage::step(2)).await.expect("the environment of a function");
    let budget = Budget::of(Duration::from_secs(890));
    let input: Value = serde_json::from_str(&input).expect("JSON");
    let outcome: Result<(), StepError> = match step.as_str() {
        "load-staging" => {
            let input = serde_json::from_value(input).expect("its input");
            load_staging::handle(app, input, budget).await.map(drop)
        }
        "insert-codes" => {
            let input = serde_json::from_value(input).expect("its input");
            insert_codes::handle(app, input, budget).await.map(drop)
        }
        "create-community" => {
            let text = |name: &str| input[name].as_str().expect("its input");
            let request = request("POST", "/communities", Some(text("subject")), text("body"));
            let request = with_key(request, text("key"));
            let response = receive(create_community::handle(app, request).await);
            if response.status == 201 { Ok(()) } else { Err(StepError::invalid(response.body.to_string())) }
        }
        "rollback-import" => {
            let input = serde_json::from_value(input).expect("its input");
            rollback_import::handle(app, input, budget).await.map(drop)
        }
        "export-report" => {
            let input = serde_json::from_value(input).expect("its input");
            export_report::handle(app, input, budget).await.map(drop)
        }
        _ => return ExitCode::from(2),
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{peak}");
    ExitCode::from(u8::from(outcome.is_err()))
}
