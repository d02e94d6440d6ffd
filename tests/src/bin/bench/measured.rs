//! One run's measurements as they come in.

use crate::Outcome;
use crate::database::{self, Bench};
use crate::report::{Stage, say};
use crate::worker::Worker;
use std::collections::BTreeMap;
use std::time::Instant;

/// The stages so far, and the server that they are measured on.
pub(crate) struct Measured {
    pub bench: Bench,
    pub stages: Vec<Stage>,
    /// Billed milliseconds of every invocation, by function.
    pub invocations: BTreeMap<&'static str, Vec<u64>>,
}

/// A stage that runs.
#[derive(Debug)]
pub(crate) struct Watch {
    stage: &'static str,
    started: Instant,
    wal: u64,
}

impl Measured {
    pub(crate) fn new(bench: Bench) -> Self {
        Self { bench, stages: Vec::new(), invocations: BTreeMap::new() }
    }

    pub(crate) async fn begin(&self, stage: &'static str) -> Outcome<Watch> {
        say(stage);
        let wal = database::wal(&self.bench.client).await?;
        Ok(Watch { stage, wal, started: Instant::now() })
    }

    /// The stage is over, and has worked through so many rows.
    pub(crate) async fn end(&mut self, watch: Watch, rows: u64, peak_bytes: u64) -> Outcome<()> {
        let seconds = watch.started.elapsed().as_secs_f64();
        let wal_bytes = database::wal(&self.bench.client).await? - watch.wal;
        self.stages.push(Stage { stage: watch.stage, rows, seconds, peak_bytes, wal_bytes });
        Ok(())
    }

    /// Notes what a worker would be billed, and answers the most memory that it held. It ends here.
    pub(crate) fn retire(&mut self, worker: Worker) -> u64 {
        self.invocations.entry(worker.function).or_default().extend(worker.billed_ms);
        worker.peak_bytes
    }
}
