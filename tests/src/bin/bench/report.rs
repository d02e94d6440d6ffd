//! What was measured, as a table and as JSON.

use crate::Outcome;
use serde::Serialize;
use std::path::Path;
use xtask::generate::grouped;

/// One stage.
#[derive(Debug, Serialize)]
pub struct Stage {
    pub stage: &'static str,
    pub rows: u64,
    pub seconds: f64,
    pub rows_per_second: f64,
    /// The most memory that a process of this stage has held.
    pub peak_bytes: u64,
    pub wal_bytes: u64,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub rows: u64,
    pub files: u64,
    pub production_before: u64,
    pub inserted: u64,
    pub streams: usize,
    pub stages: Vec<Stage>,
    pub total_seconds: f64,
    pub counts_are_right: bool,
}

#[allow(clippy::cast_precision_loss)]
impl Report {
    pub fn print(&self) {
        println!();
        println!(
            "{} rows in {} files against {} existing codes, {} processes, {} inserted",
            grouped(self.rows),
            self.files,
            grouped(self.production_before),
            self.streams,
            grouped(self.inserted)
        );
        println!(
            "{:<10} {:>12} {:>9} {:>12} {:>12} {:>10}",
            "stage", "rows", "seconds", "rows/s", "peak MB", "WAL MB"
        );
        for stage in &self.stages {
            println!(
                "{:<10} {:>12} {:>9.2} {:>12} {:>12.0} {:>10.0}",
                stage.stage,
                grouped(stage.rows),
                stage.seconds,
                grouped(stage.rows_per_second as u64),
                stage.peak_bytes as f64 / 1e6,
                stage.wal_bytes as f64 / 1e6
            );
        }
        println!("{:<10} {:>12} {:>9.2}", "all", grouped(self.rows), self.total_seconds);
    }

    pub fn write(&self, path: &Path) -> Outcome<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)?)?;
        println!("\nWritten to {}", path.display());
        Ok(())
    }
}
