//! Following an import live. An interrupt only stops the following.

use crate::api::Api;
use crate::failure::{Exit, Failure, Outcome};
use crate::words;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(700);
/// Where nobody looks at a line that changes, it is printed so often at most.
const PRINT: Duration = Duration::from_secs(2);

/// Shows what a job says of itself while we wait.
pub struct Live {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: String,
    printed: Option<Instant>,
}

impl Live {
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, quiet, last: String::new(), printed: None }
    }

    /// `step`: lines of the same step follow each other on the same line.
    fn show(&mut self, step: &str, line: String) {
        if self.quiet || line == self.last {
            return;
        }
        let same_step = self.last.split([':', ',']).next() == Some(step);
        match &self.bar {
            Some(bar) => {
                if !self.last.is_empty() && !same_step {
                    bar.println(format!("  {}", self.last));
                }
                bar.set_message(line.clone());
            }
            None if same_step && self.printed.is_some_and(|at| at.elapsed() < PRINT) => return,
            None => {
                eprintln!("  {line}");
                self.printed = Some(Instant::now());
            }
        }
        self.last = line;
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            if !self.last.is_empty() {
                bar.println(format!("  {}", self.last));
            }
            bar.finish_and_clear();
        }
    }
}

/// Asks for the job until `done` says so of it.
pub fn until(api: &Api, job: &str, quiet: bool, done: impl Fn(&Value) -> bool) -> Outcome<Value> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted));
    let mut live = Live::new(quiet);
    let found = loop {
        let found = match api.get(&format!("/imports/{job}")) {
            Ok(found) => found,
            Err(failure) => break Err(failure),
        };
        let line = words::progress(&found);
        let step = line.split([':', ',']).next().unwrap_or_default().to_owned();
        live.show(&step, line);
        if done(&found) {
            break Ok(found);
        }
        let looked = Instant::now();
        while looked.elapsed() < LOOK && !interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if interrupted.load(Ordering::Relaxed) {
            let message =
                format!("No longer followed; the import goes on. Follow it: onceload status {job} --follow");
            break Err(Failure::new(Exit::Interrupted, message).with(found));
        }
    };
    live.end();
    if let Ok(handler) = handler {
        signal_hook::low_level::unregister(handler);
    }
    found
}

/// Over, or waiting for a person.
pub fn rests(job: &Value) -> bool {
    let status = words::text(job, "/status");
    status == "awaiting_approval" || is_final(status)
}

pub fn is_final(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled" | "expired" | "rolled_back")
}

/// A job that rests for a bad reason is a failure.
pub fn judged(job: Value) -> Outcome<Value> {
    match words::text(&job, "/status") {
        status @ ("failed" | "cancelled" | "expired") => {
            let why = words::text(&job, "/error_message");
            let message = format!("The import is {status}{}{why}", if why.is_empty() { "." } else { ": " });
            Err(Failure::new(Exit::ImportFailed, message).with(job))
        }
        _ => Ok(job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn how_a_job_ends() {
        let job = |status: &str| json!({ "status": status, "error_message": null });
        for (status, over, good) in [
            ("loading", false, true),
            ("awaiting_approval", true, true),
            ("completed", true, true),
            ("failed", true, false),
            ("cancelled", true, false),
            ("expired", true, false),
        ] {
            assert_eq!((rests(&job(status)), judged(job(status)).is_ok()), (over, good), "{status}");
        }
    }
}
