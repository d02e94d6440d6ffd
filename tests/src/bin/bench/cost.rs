//! What the import would cost on AWS at list prices, the database aside.

use crate::Outcome;
use crate::report::Run;
use crate::template::Template;
use crate::transitions;
use serde::Serialize;
use xtask::generate::grouped;

/// List prices of us-east-1 without the free tiers, in USD: <https://aws.amazon.com/lambda/pricing/>,
/// <https://aws.amazon.com/step-functions/pricing/>, <https://aws.amazon.com/s3/pricing/>,
/// <https://aws.amazon.com/eventbridge/pricing/>. docs/COST.md says when and how they were looked up.
const ARM_GB_SECOND: f64 = 0.000_013_333_4;
const X86_GB_SECOND: f64 = 0.000_016_666_7;
const INVOCATION: f64 = 0.20 / 1e6;
const TRANSITION: f64 = 0.025 / 1e3;
const S3_GET: f64 = 0.0004 / 1e3;
const S3_PUT_OR_LIST: f64 = 0.005 / 1e3;
const EVENT: f64 = 1.00 / 1e6;

/// `ImportStateChanged` when it waits for approval and when it is over. What S3 sends is free.
const EVENTS: u64 = 2;
/// Steps of the import; a rollback is another matter.
const STEPS: [&str; 8] = [
    "open-import",
    "load-staging",
    "mark-duplicates",
    "validate-import",
    "insert-codes",
    "verify-import",
    "close-import",
    "export-report",
];

#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub architecture: String,
    pub lines: Vec<Line>,
    pub total_usd: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub what: String,
    /// Invocations, transitions or requests.
    pub count: u64,
    pub billed_ms: Option<u64>,
    pub memory_mb: Option<u64>,
    pub usd: f64,
}

impl Cost {
    /// As many files as were loaded; the bytes of the export's object.
    pub(crate) fn of(run: &Run, files: u64, template: &Template) -> Outcome<Self> {
        let gb_second = if template.architecture == "arm64" { ARM_GB_SECOND } else { X86_GB_SECOND };
        let mut lines = Vec::new();
        for function in STEPS {
            let billed = run.invocations.get(function).map(Vec::as_slice).unwrap_or_default();
            let (count, billed_ms, memory) =
                (billed.len() as u64, billed.iter().sum::<u64>(), template.memory(function)?);
            let gb_seconds = billed_ms as f64 / 1000.0 * memory as f64 / 1024.0;
            lines.push(Line {
                what: function.into(),
                count,
                billed_ms: Some(billed_ms),
                memory_mb: Some(memory),
                usd: gb_seconds * gb_second + count as f64 * INVOCATION,
            });
        }
        let mut requests = |what: &str, count: u64, price: f64| {
            let usd = count as f64 * price;
            lines.push(Line { what: what.into(), count, billed_ms: None, memory_mb: None, usd });
        };
        requests("state transitions", transitions::of_import(files, run.chunks)?, TRANSITION);
        requests("S3 GET", run.s3_reads, S3_GET);
        requests("S3 PUT and LIST", run.s3_writes, S3_PUT_OR_LIST);
        requests("events", EVENTS, EVENT);
        let total_usd = lines.iter().map(|line| line.usd).sum();
        Ok(Self { architecture: template.architecture.clone(), lines, total_usd })
    }

    pub(crate) fn print(&self) {
        println!(
            "\n{:<20} {:>8} {:>12} {:>10} {:>12}   us-east-1, {}, list prices, database aside",
            "cost", "count", "billed ms", "MB", "USD", self.architecture
        );
        for line in &self.lines {
            let shown = |value: Option<u64>| value.map_or("".into(), grouped);
            println!(
                "{:<20} {:>8} {:>12} {:>10} {:>12.6}",
                line.what,
                grouped(line.count),
                shown(line.billed_ms),
                shown(line.memory_mb),
                line.usd
            );
        }
        println!("{:<20} {:>8} {:>12} {:>10} {:>12.6}", "together", "", "", "", self.total_usd);
    }
}
