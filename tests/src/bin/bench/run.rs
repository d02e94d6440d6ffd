//! The order of things: generate, measure ours and the limits, then pgloader and the old way; or one import after another of
//! rising size.

use crate::baseline::{self, Baseline};
use crate::batch::Batch;
use crate::cost::Cost;
use crate::database::Server;
use crate::import::{self, Setup};
use crate::machine::Machine;
use crate::peer::{self, Peer};
use crate::plain::PlainFile;
use crate::plot::{self, Size};
use crate::production::Production;
use crate::report::{Parts, Report, middle};
use crate::space::{self, Sized};
use crate::template::Template;
use crate::{Outcome, Part};
use serde_json::json;
use std::path::PathBuf;
use xtask::bench::find_pgloader;
use xtask::generate::Plan;
use xtask::project;

/// The full-size workload.
pub(crate) const FULL_ROWS: u64 = 15_520_410;
/// The baseline and pgloader are measured with so much less, unless they are wanted whole.
const BASELINE_SHARE: u64 = 5;
/// Rows of the plot's points.
const SIZES: [u64; 5] = [1_000_000, 2_000_000, 4_000_000, 8_000_000, FULL_ROWS];

#[derive(Debug)]
pub(crate) struct Options {
    pub rows: u64,
    pub streams: usize,
    pub runs: usize,
    pub production: Production,
    pub parts: Vec<Part>,
    pub baseline_full: bool,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let (server, template) = (Server::from_env()?, Template::read()?);
    let machine = Machine::look(&server).await?;
    println!("{machine}");
    // Now, so that nobody finds out later that it can't be had.
    let pgloader = options.wants(Part::Peer).then(|| find_pgloader().map_err(|error| error.to_string()));
    let sized = Sized {
        plan: &Plan::workload_of(options.rows),
        is_adopted: options.production.adoption.is_some(),
        has_limit: options.wants(Part::Limit),
        keeps_files: options.runs > 1,
    };
    space::check(&server, &sized).await?;
    let batch = Batch::generate(options.rows)?;
    let setup = Setup {
        server: &server,
        template: &template,
        production: &options.production,
        batch: &batch,
        streams: options.streams,
        parts: &options.parts,
        keeps_files: sized.keeps_files,
    };
    let mut runs = Vec::new();
    for n in 1..=options.runs {
        println!("Run {n} of {}", options.runs);
        runs.push(import::measure(&setup).await?);
    }
    let (baseline, peer) = measure_others(&server, options, pgloader).await?;
    let middle = middle(&runs).ok_or("no run")?;
    let report = Report::of(Parts {
        machine,
        production: options.production.shape(),
        rows: options.rows,
        files: batch.plan.files,
        streams: options.streams,
        cost: Cost::of(middle, batch.plan.files, &template)?,
        runs,
        baseline,
        peer,
    });
    report.print();
    report.write(&project::target().join("bench.json"))
}

/// The old way and pgloader, with files of their own.
async fn measure_others(
    server: &Server,
    options: &Options,
    pgloader: Option<Result<PathBuf, String>>,
) -> Outcome<(Option<Baseline>, Option<Peer>)> {
    if pgloader.is_none() && !options.wants(Part::Baseline) {
        return Ok((None, None));
    }
    let rows = if options.baseline_full { options.rows } else { options.rows / BASELINE_SHARE };
    let batch = Batch::generate(rows)?;
    let plain = PlainFile::of_batch(&batch)?;
    let peer = match pgloader {
        Some(pgloader) => Some(peer::measure(server, pgloader, &batch, &plain, options.streams).await?),
        None => None,
    };
    let baseline = if options.wants(Part::Baseline) {
        Some(baseline::measure(server, &batch, &plain).await?)
    } else {
        None
    };
    Ok((baseline, peer))
}

/// Ours alone at rising sizes: seconds per row must stay what they are.
pub(crate) async fn scale(sizes: Option<Vec<u64>>, streams: usize, publish: bool) -> Outcome<()> {
    let (server, template) = (Server::from_env()?, Template::read()?);
    let machine = Machine::look(&server).await?;
    println!("{machine}");
    let mut measured = Vec::new();
    for rows in sizes.unwrap_or_else(|| SIZES.to_vec()) {
        let batch = Batch::generate(rows)?;
        let setup = Setup {
            server: &server,
            template: &template,
            production: &Production::own(),
            batch: &batch,
            streams,
            parts: &[],
            keeps_files: false,
        };
        let run = import::measure(&setup).await?;
        let stages: Vec<(&'static str, f64)> = run.stages.iter().map(|it| (it.stage, it.seconds)).collect();
        measured.push(Size { rows, stages, seconds: run.cycle_seconds() });
    }
    plot::print(&measured);
    let drawn = plot::svg(&measured, &machine.in_short());
    let target = project::target();
    let all = json!({ "machine": machine, "sizes": measured });
    std::fs::write(target.join("bench-scale.json"), serde_json::to_string_pretty(&all)?)?;
    std::fs::write(target.join("benchmark.svg"), &drawn)?;
    println!("\nWritten to {} and bench-scale.json", target.join("benchmark.svg").display());
    if publish {
        std::fs::write(project::root().join("docs/benchmark.svg"), &drawn)?;
        println!("Copied to docs/benchmark.svg");
    }
    Ok(())
}
