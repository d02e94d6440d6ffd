//! Runs one step or request in a process that a test can kill: `step load-staging '{"job_id":...}'`, with the
//! environment of a function. Prints the peak of its memory.

use onceload_tests::call::Call;
use shared::lambda::{App, Budget};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(function), Some(input)) = (arguments.next(), arguments.next()) else {
        return ExitCode::from(2);
    };
    let call = Call::step(&function, serde_json::from_str(&input).expect("JSON"));
    let app = App::from_env(call.usage()).await.expect("the environment of a function");
    let answer = call.make(app, Budget::of(Duration::from_secs(890))).await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{peak}");
    ExitCode::from(u8::from(!answer.is_success()))
}
