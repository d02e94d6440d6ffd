//! Shows the progress of an import: one rewritten line on a terminal, a line every two seconds in a log.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::job::Job;
use crate::generate::grouped;
use crate::say::{self, Seconds};

const LOG_EVERY: Duration = Duration::from_secs(2);
/// An unchanged line is repeated, to show that the command is still running.
const LOG_SAME_EVERY: Duration = Duration::from_secs(20);

pub(super) struct LiveLine {
    terminal: bool,
    started: Instant,
    last_logged: Option<Instant>,
    last_state: String,
    last_text: String,
    shown: bool,
}

impl LiveLine {
    pub(super) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            started: Instant::now(),
            last_logged: None,
            last_state: String::new(),
            last_text: String::new(),
            shown: false,
        }
    }

    /// Shows a line. A log always gets the first line of a new `state`.
    pub(super) fn show(&mut self, state: &str, text: &str) {
        let elapsed = Seconds(self.started.elapsed());
        if self.terminal {
            // A terminal can't rewrite a line that wraps.
            let line: String = format!("  {text} [{elapsed}]").chars().take(width()).collect();
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[2K{line}");
            let _ = out.flush();
            self.shown = true;
            return;
        }
        let every = if text == self.last_text { LOG_SAME_EVERY } else { LOG_EVERY };
        if state != self.last_state || self.last_logged.is_none_or(|last| last.elapsed() >= every) {
            say::line(format_args!("  {text} [{elapsed}]"));
            self.last_logged = Some(Instant::now());
            state.clone_into(&mut self.last_state);
            text.clone_into(&mut self.last_text);
        }
    }

    /// Removes the line before other output.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[2K");
            let _ = out.flush();
        }
    }
}

fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100).max(20) - 1
}

/// Describes the progress of a job in one line.
pub(super) fn describe(job: &Job) -> String {
    let mut parts = vec![match &job.phase {
        Some(phase) if *phase != job.status => format!("{} ({})", job.status, phase.replace('_', " ")),
        _ => job.status.clone(),
    }];
    let counts = &job.counts;
    match job.status.as_str() {
        "pending" | "loading" => {
            if job.files.total > 0 {
                parts.push(format!("file {} of {}", job.files.loaded, job.files.total));
            }
            if let Some(percent) = (job.bytes.done.min(job.bytes.total) * 100).checked_div(job.bytes.total) {
                parts.push(format!("{percent} % of {}", megabytes(job.bytes.total)));
            }
            if let Some(staged) = counts.staged.filter(|&staged| staged > 0) {
                parts.push(format!("{} rows staged", grouped(staged)));
            }
        }
        "checking" | "validating" => {
            if let Some(staged) = counts.staged {
                parts.push(format!("{} rows staged", grouped(staged)));
            }
            parts.push(format!("chunk {} of {}", job.chunks.done, job.chunks.total));
        }
        "processing" => {
            if let Some(clean) = counts.clean {
                parts.push(format!("{} codes to insert", grouped(clean)));
            }
        }
        _ => {}
    }
    // The rate is that of the insert, which has ended when the verification runs.
    if job.phase.as_deref() != Some("verifying") {
        if let Some(rate) = job.rate.filter(|rate| *rate >= 1.0) {
            parts.push(format!("{} rows/s", grouped(rate as u64)));
        }
        if let Some(eta) = job.eta_seconds.filter(|eta| eta.is_finite() && *eta >= 1.0) {
            parts.push(format!("{} left", Seconds(Duration::from_secs_f64(eta.min(1e6)))));
        }
    }
    parts.join(", ")
}

/// `12.3 MB`.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loading_job_is_described_by_files_bytes_rows_and_rate() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "job_id": "j", "status": "loading", "phase": "loading_files",
            "files": {"total": 8, "loaded": 3, "failed": 0}, "bytes": {"total": 8_000_000, "done": 3_000_000},
            "counts": {"staged": 71_234, "records": null}, "rate": 54_321.9, "eta_seconds": 3
        }))
        .unwrap();
        assert_eq!(
            describe(&job),
            "loading (loading files), file 3 of 8, 37 % of 8.0 MB, 71,234 rows staged, 54,321 rows/s, 3.0 s left"
        );
    }

    #[test]
    fn a_job_without_counts_is_described_by_its_status() {
        let job: Job =
            serde_json::from_value(serde_json::json!({"job_id": "j", "status": "pending"})).unwrap();
        assert_eq!(describe(&job), "pending");
    }
}
