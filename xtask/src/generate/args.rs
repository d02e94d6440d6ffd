//! The command line of `cargo xtask generate`.

use std::path::PathBuf;
use std::str::FromStr;

use super::plan::{Compression, EXAMPLE_MERCHANT, LayoutKind, Plan};
use crate::{Error, Result};

/// A number of rows, given as a number or as a share of all rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    Rows(u64),
    Ratio(f64),
}

impl Share {
    fn of(self, rows: u64) -> u64 {
        match self {
            Self::Rows(number) => number,
            Self::Ratio(ratio) => (ratio * rows as f64).round() as u64,
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a number of rows (310312) or a share (0.02, 2%), not `{text}`");
        let ratio = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0,
            None if text.contains('.') => text.parse::<f64>().map_err(|_| wrong())?,
            None => return text.replace('_', "").parse().map(Self::Rows).map_err(|_| wrong()),
        };
        if (0.0..=1.0).contains(&ratio) { Ok(Self::Ratio(ratio)) } else { Err(wrong()) }
    }
}

/// Write CSV files with known counts, and print the counts that an import of them must report
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateArgs {
    /// Records of all kinds, without headers
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// Files to write
    #[arg(long, default_value_t = 8)]
    files: u64,
    /// The same seed and numbers produce the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Second and later occurrences of a code: a number of rows, or a share such as 0.02 or 2%
    #[arg(long, default_value = "0.02")]
    internal: Share,
    /// Rows whose code is already in production: a number, or a share
    #[arg(long, default_value = "0.28")]
    existing: Share,
    /// Rows that are duplicates of both kinds; the other two options count them, too
    #[arg(long, default_value_t = 0)]
    both: u64,
    /// Records that break a rule of the grammar: a number, or a share
    #[arg(long, default_value = "0")]
    rejects: Share,
    /// Blank lines, and lines of delimiters only
    #[arg(long, default_value_t = 0)]
    skipped: u64,
    /// Codes in production before the import [default: a quarter more than the existing duplicates]
    #[arg(long)]
    production: Option<u64>,
    /// The directory for the files
    #[arg(long)]
    out: PathBuf,
    /// The layout of the files
    #[arg(long, value_enum, default_value_t)]
    layout: LayoutKind,
    /// The compression of the files [default: mixed for mixed layouts, none for plain ones]
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// The merchant in files with a merchant_id column
    #[arg(long, default_value = EXAMPLE_MERCHANT)]
    merchant: String,
}

impl GenerateArgs {
    pub fn plan(&self) -> Plan {
        let existing = self.existing.of(self.rows);
        Plan {
            seed: self.seed,
            merchant_id: self.merchant.to_ascii_lowercase(),
            rows: self.rows,
            files: self.files,
            internal: self.internal.of(self.rows),
            existing,
            both: self.both,
            rejects: self.rejects.of(self.rows),
            skipped: self.skipped,
            production: self.production.unwrap_or(existing + existing / 4),
            layout: self.layout,
            compression: self.compression.unwrap_or(match self.layout {
                LayoutKind::Mixed => Compression::Mixed,
                LayoutKind::Plain => Compression::None,
            }),
        }
    }
}

/// Writes the files and prints their table.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let plan = args.plan();
    plan.check().map_err(|error| Error::advice(format!("these numbers contradict each other: {error}")))?;
    let step = crate::say::step(format!("Generating files in {}", args.out.display()));
    let expected = super::generate_with(&plan, &args.out, |files, records| {
        step.progress(format_args!(
            "file {} of {}, {} of {} records",
            (files + 1).min(plan.files),
            plan.files,
            super::grouped(records),
            super::grouped(plan.rows)
        ));
    })?;
    let rate = (plan.rows as f64 / step.elapsed().as_secs_f64().max(0.001)) as u64;
    step.done(format_args!("{} records/s", super::grouped(rate)));
    crate::say::result(expected.table());
    Ok(())
}
