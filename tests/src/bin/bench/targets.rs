//! What the project aims at, and whether the run met it. Nothing fails here: times are not what decides.

use crate::readers::Latency;
use crate::report::Report;
use serde::Serialize;
use std::fmt::{Display, Formatter};

#[derive(Debug, Serialize)]
pub(crate) struct Target {
    what: String,
    measured: String,
    met: bool,
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<6} {:<58} {}", if self.met { "met" } else { "MISSED" }, self.what, self.measured)
    }
}

/// Rows of the workload that absolute times are aimed for.
const FULL: u64 = 15_520_410;

pub(crate) fn judge(report: &Report) -> Vec<Target> {
    let mut all = Vec::new();
    let mut add = |what: &str, measured: String, met| {
        all.push(Target { what: what.into(), measured, met });
    };
    let line = |stage| report.lines.iter().find(|line| line.stage == stage);
    if let Some(share) = line("load").and_then(|line| line.limit_share) {
        add("load: at least 0.7 of the server's own COPY", format!("{share:.2}"), share >= 0.7);
    }
    if let Some(ratio) = line("load").and_then(|line| line.peer_ratio) {
        add("load: at least 2 x pgloader", format!("{ratio:.1} x"), ratio >= 2.0);
    }
    if let (Some(insert), Some(_)) = (line("insert"), &report.readers) {
        let pace = insert.rows_per_second;
        add("insert with readers: at least 200,000 rows/s", format!("{pace:.0} rows/s"), pace >= 200_000.0);
    }
    if report.rows == FULL {
        for (stage, most) in
            [("mark", 11.0), ("validate", 2.0), ("export", 12.0), ("rollback", 15.0), ("clear", 1.0)]
        {
            if let Some(line) = line(stage) {
                add(
                    &format!("{stage}: at most {most:.0} s"),
                    format!("{:.1} s", line.seconds),
                    line.seconds <= most,
                );
            }
        }
        let cycle = report.cycle_seconds;
        add("first byte to verified: at most 110 s", format!("{cycle:.1} s"), cycle <= 110.0);
        let usd = report.cost.total_usd;
        add("cost of the import: below 0.10 USD", format!("{usd:.4} USD"), usd < 0.10);
    }
    if let Some(ratio) = report.cycle_baseline_ratio {
        add("first byte to verified: at least 10 x the old way", format!("{ratio:.1} x"), ratio >= 10.0);
    }
    let peak = report.lines.iter().map(|line| line.peak_bytes).max().unwrap_or_default();
    add(
        "memory of any function: at most 128 MB",
        format!("{:.0} MB", peak as f64 / 1e6),
        peak <= 128_000_000,
    );
    if let Some(readers) = &report.readers {
        let mut compare = |what: &str, idle: &Latency, during: &Latency| {
            let met = during.p99_ms <= 100.0 && during.p99_ms <= 3.0 * idle.p99_ms;
            let measured = format!("{:.1} ms, idle {:.1} ms", during.p99_ms, idle.p99_ms);
            add(&format!("{what} during the insert: p99 at most 3 x idle, and 100 ms"), measured, met);
        };
        compare("point read", &readers.idle.read, &readers.during.read);
        compare("single claim", &readers.idle.claim, &readers.during.claim);
        let get = readers.during.get.p99_ms;
        add("GET /imports/{id} during the insert: p99 at most 10 ms", format!("{get:.1} ms"), get <= 10.0);
        let lock = readers.during.strongest_lock.as_deref().unwrap_or("none seen");
        let met = ["AccessShareLock", "RowShareLock", "RowExclusiveLock"].contains(&lock);
        add("lock on codes during the insert: at most ROW EXCLUSIVE", lock.into(), met);
    }
    all
}
