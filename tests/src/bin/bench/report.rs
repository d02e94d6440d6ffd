//! What was measured: the table for a person, and everything as JSON.

use crate::Outcome;
use crate::baseline::Baseline;
use crate::cost::Cost;
use crate::machine::Machine;
use crate::peer::Peer;
use crate::readers::Compared;
use crate::targets::{self, Target};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use xtask::generate::grouped;

pub(crate) fn say(words: &str) {
    println!("{words} ...");
}

/// One stage of one run.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Stage {
    pub stage: &'static str,
    pub rows: u64,
    pub seconds: f64,
    /// The most memory that a process of this stage has held.
    pub peak_bytes: u64,
    pub wal_bytes: u64,
}

/// The least that the server needs for a stage.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limit {
    pub stage: &'static str,
    pub rows: u64,
    pub seconds: f64,
}

pub(crate) type Limits = Vec<Limit>;

impl Limit {
    pub(crate) fn new(stage: &'static str, rows: u64, started: Instant) -> Self {
        Self { stage, rows, seconds: started.elapsed().as_secs_f64() }
    }
}

/// One run of ours, with what was measured beside it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Run {
    pub production_before: u64,
    pub inserted: u64,
    pub stages: Vec<Stage>,
    pub limits: Limits,
    pub readers: Option<Compared>,
    /// Billed milliseconds of every invocation, by function.
    pub invocations: BTreeMap<&'static str, Vec<u64>>,
    pub chunks: u64,
    /// GET requests for the files.
    pub s3_reads: u64,
    /// PUT and LIST requests: the parts of the export's object, beginning and end of it, and the listing.
    pub s3_writes: u64,
}

/// One stage over all runs: medians, but the highest memory.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub stage: &'static str,
    pub rows: u64,
    pub seconds: f64,
    pub rows_per_second: f64,
    /// Seconds per row of the old way by ours.
    pub baseline_ratio: Option<f64>,
    /// Seconds per row of pgloader by ours.
    pub peer_ratio: Option<f64>,
    /// Seconds per row of the limit by ours: 1 is as fast as can be.
    pub limit_share: Option<f64>,
    pub peak_bytes: u64,
    pub wal_bytes: u64,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub machine: Machine,
    /// The shape of production's table.
    pub production: String,
    pub rows: u64,
    pub files: u64,
    pub streams: usize,
    pub lines: Vec<Line>,
    /// From the first byte to verified, without the approval, in seconds.
    pub cycle_seconds: f64,
    pub cycle_baseline_ratio: Option<f64>,
    pub readers: Option<Compared>,
    pub baseline: Option<Baseline>,
    pub peer: Option<Peer>,
    pub cost: Cost,
    pub targets: Vec<Target>,
    pub runs: Vec<Run>,
}

/// The stages from the first byte to verified.
pub(crate) const CYCLE: [&str; 6] = ["open", "load", "mark", "validate", "insert", "verify"];

impl Run {
    /// From the first byte to verified, without the approval.
    pub(crate) fn cycle_seconds(&self) -> f64 {
        self.stages.iter().filter(|it| CYCLE.contains(&it.stage)).map(|it| it.seconds).sum()
    }
}

/// The run with the median cycle: it speaks for what has no median.
pub(crate) fn middle(runs: &[Run]) -> Option<&Run> {
    let cycle = median(runs.iter().map(Run::cycle_seconds).collect());
    runs.iter().find(|run| run.cycle_seconds().total_cmp(&cycle).is_eq())
}

/// The middle one; of an even number the higher of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Line {
    fn of(stage: &'static str, runs: &[Run], baseline: Option<&Baseline>, peer: Option<&Peer>) -> Self {
        let of_runs = |value: fn(&Stage) -> f64| -> Vec<f64> {
            runs.iter().flat_map(|run| &run.stages).filter(|it| it.stage == stage).map(value).collect()
        };
        let seconds = median(of_runs(|it| it.seconds));
        let rows = median(of_runs(|it| it.rows as f64)) as u64;
        let per_row = seconds / rows as f64;
        let limits: Vec<f64> = runs
            .iter()
            .flat_map(|run| &run.limits)
            .filter(|limit| limit.stage == stage)
            .map(|limit| limit.seconds / limit.rows as f64)
            .collect();
        let old = baseline.and_then(|baseline| baseline.seconds_per_row(stage));
        let peer = peer.filter(|_| stage == "load").and_then(Peer::seconds_per_row);
        Self {
            stage,
            rows,
            seconds,
            rows_per_second: 1.0 / per_row,
            baseline_ratio: old.map(|old| old / per_row),
            peer_ratio: peer.map(|peer| peer / per_row),
            limit_share: (!limits.is_empty()).then(|| median(limits) / per_row),
            peak_bytes: of_runs(|it| it.peak_bytes as f64).into_iter().fold(0.0, f64::max) as u64,
            wal_bytes: median(of_runs(|it| it.wal_bytes as f64)) as u64,
        }
    }
}

/// What a report is made of.
pub(crate) struct Parts {
    pub machine: Machine,
    /// The shape of production's table.
    pub production: String,
    pub rows: u64,
    pub files: u64,
    pub streams: usize,
    pub runs: Vec<Run>,
    pub baseline: Option<Baseline>,
    pub peer: Option<Peer>,
    pub cost: Cost,
}

impl Report {
    pub(crate) fn of(parts: Parts) -> Self {
        let Parts { machine, production, rows, files, streams, runs, baseline, peer, cost } = parts;
        let names: Vec<&'static str> =
            runs.first().map(|run| run.stages.iter().map(|it| it.stage).collect()).unwrap_or_default();
        let line = |name: &&'static str| Line::of(name, &runs, baseline.as_ref(), peer.as_ref());
        let lines: Vec<Line> = names.iter().map(line).collect();
        let cycle_seconds = median(runs.iter().map(Run::cycle_seconds).collect());
        let cycle_baseline_ratio =
            baseline.as_ref().map(|old| old.cycle_seconds_per_row() / (cycle_seconds / rows as f64));
        let readers = Compared::over(&runs.iter().filter_map(|run| run.readers.as_ref()).collect::<Vec<_>>());
        let mut report = Self {
            machine,
            production,
            rows,
            files,
            streams,
            lines,
            cycle_seconds,
            cycle_baseline_ratio,
            readers,
            baseline,
            peer,
            cost,
            targets: Vec::new(),
            runs,
        };
        report.targets = targets::judge(&report);
        report
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.machine);
        println!(
            "{} rows in {} files against {} existing codes in {}, {} processes, {} inserted, {} run(s); every count is right",
            grouped(self.rows),
            self.files,
            grouped(self.runs.first().map_or(0, |run| run.production_before)),
            self.production,
            self.streams,
            grouped(self.runs.first().map_or(0, |run| run.inserted)),
            self.runs.len()
        );
        println!(
            "\n{:<10} {:>12} {:>9} {:>12} {:>10} {:>10} {:>10} {:>9} {:>9}",
            "stage", "rows", "seconds", "rows/s", "x baseline", "x pgloader", "of limit", "peak MB", "WAL MB"
        );
        let shown = |value: Option<f64>, digits| value.map_or("-".into(), |it| format!("{it:.digits$}"));
        for line in &self.lines {
            println!(
                "{:<10} {:>12} {:>9.2} {:>12.0} {:>10} {:>10} {:>10} {:>9.0} {:>9.0}",
                line.stage,
                grouped(line.rows),
                line.seconds,
                line.rows_per_second,
                shown(line.baseline_ratio, 1),
                shown(line.peer_ratio, 1),
                shown(line.limit_share, 2),
                line.peak_bytes as f64 / 1e6,
                line.wal_bytes as f64 / 1e6
            );
        }
        println!(
            "{:<10} {:>12} {:>9.2} {:>12.0} {:>10}   first byte to verified, approval excluded",
            "cycle",
            grouped(self.rows),
            self.cycle_seconds,
            self.rows as f64 / self.cycle_seconds,
            shown(self.cycle_baseline_ratio, 1)
        );
        if let Some(readers) = &self.readers {
            readers.print();
        }
        if let Some(peer) = &self.peer {
            peer.print();
        }
        if let Some(baseline) = &self.baseline {
            baseline.print();
        }
        self.cost.print();
        println!();
        for target in &self.targets {
            println!("{target}");
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)?)?;
        println!("\nWritten to {}", path.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Run, Stage};

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(super::median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(super::median(vec![1.0]), 1.0);
    }

    #[test]
    fn the_median_run_is_found_in_any_order() {
        let run = |seconds| {
            let stage = Stage { stage: "load", seconds, ..Stage::default() };
            Run { stages: vec![stage], ..Run::default() }
        };
        let runs = [run(3.0), run(1.0), run(2.0)];
        assert_eq!(super::middle(&runs).map(Run::cycle_seconds), Some(2.0));
    }
}
