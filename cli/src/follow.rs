//! Follows an import live. An interrupt ends the following, not the import.

use crate::api::Api;
use crate::failure::{Exit, Failure, Outcome};
use crate::findings;
use crate::terminal;
use crate::words;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(700);
/// How often progress is printed at most where a line can't be rewritten.
const PRINT_INTERVAL: Duration = Duration::from_secs(2);

/// Shows a job's progress while we wait.
struct LiveLine {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: String,
    printed: Option<Instant>,
}

impl LiveLine {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, quiet, last: String::new(), printed: None }
    }

    /// Replaces the line of the same `step`; a new step gets a new line.
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
            None if same_step && self.printed.is_some_and(|at| at.elapsed() < PRINT_INTERVAL) => return,
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

/// Polls a job and shows its progress until `done` is true of it.
pub(crate) fn follow(api: &Api, job: &str, quiet: bool, done: impl Fn(&Value) -> bool) -> Outcome<Value> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted));
    let mut live = LiveLine::new(quiet);
    let found = loop {
        let found = match api.get(&format!("/imports/{job}")) {
            Ok(found) => found,
            Err(failure) => break Err(failure),
        };
        let line = terminal::part(&words::progress(&found));
        let step = line.split([':', ',']).next().unwrap_or_default().to_owned();
        live.show(&step, line);
        if done(&found) {
            break Ok(found);
        }
        let polled = Instant::now();
        while polled.elapsed() < POLL_INTERVAL && !interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if interrupted.load(Ordering::Relaxed) {
            let message = format!(
                "Stopped following; the import goes on. Follow it again: onceload status {job} --follow"
            );
            break Err(Failure::new(Exit::Interrupted, message).with(found));
        }
    };
    live.end();
    if let Ok(handler) = handler {
        signal_hook::low_level::unregister(handler);
    }
    found
}

/// Whether a job has ended or waits for a person.
pub(crate) fn is_at_rest(job: &Value) -> bool {
    let status = words::text(job, "/status");
    (status == "awaiting_approval" && !is_in_line(job)) || has_ended(status)
}

/// Whether a job goes on by itself when another import of the merchant has ended; a person has approved it, where that was needed.
pub(crate) fn is_in_line(job: &Value) -> bool {
    words::text(job, "/phase") == "waiting_for_merchant"
}

/// Whether a job in this status has ended.
pub(crate) fn has_ended(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled" | "expired" | "rolled_back")
}

/// Fails for a job that has failed, was cancelled or has expired.
pub(crate) fn fail_if_unsuccessful(job: Value) -> Outcome<Value> {
    match words::text(&job, "/status") {
        status @ ("failed" | "cancelled" | "expired") => {
            let why = words::error_message(&job);
            let end = if why.is_empty() { "." } else { ": " };
            let mut lines = vec![format!("The import is {status}{end}{why}")];
            lines.extend(findings::of_import(&job));
            if words::number(&job, "/files/failed") > 0 {
                let id = words::text(&job, "/job_id");
                lines.push(format!(
                    "\nCorrect a file:  onceload mend {id} <file> --with <corrected file>, or --leave-out"
                ));
            }
            let message = lines.join("\n");
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
    fn only_failed_cancelled_and_expired_imports_are_failures() {
        let job = |status: &str| json!({ "status": status, "error_message": null });
        for (status, at_rest, successful) in [
            ("loading", false, true),
            ("awaiting_approval", true, true),
            ("completed", true, true),
            ("failed", true, false),
            ("cancelled", true, false),
            ("expired", true, false),
        ] {
            let found = (is_at_rest(&job(status)), fail_if_unsuccessful(job(status)).is_ok());
            assert_eq!(found, (at_rest, successful), "{status}");
        }
        let approved = json!({ "status": "awaiting_approval", "phase": "waiting_for_merchant" });
        assert!(!is_at_rest(&approved), "it goes on by itself");
    }
}
