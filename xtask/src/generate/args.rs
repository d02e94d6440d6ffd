//! The command line of `cargo xtask generate`.

use std::path::PathBuf;
use std::str::FromStr;

use super::plan::{Compression, EXAMPLE_MERCHANT, LayoutKind, Plan};
use crate::{Error, Result};

/// A number of rows, said as such or as a share of all rows.
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
        let wrong = || format!("`{text}` is neither a number of rows (310312) nor a share (0.02, 2%)");
        let ratio = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0,
            None if text.contains('.') => text.parse::<f64>().map_err(|_| wrong())?,
            None => return text.replace('_', "").parse().map(Self::Rows).map_err(|_| wrong()),
        };
        if (0.0..=1.0).contains(&ratio) { Ok(Self::Ratio(ratio)) } else { Err(wrong()) }
    }
}

/// Write CSV files whose counts are known, and say what an import of them must count.
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateArgs {
    /// Records of all kinds together, headers aside
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    #[arg(long, default_value_t = 8)]
    files: u64,
    /// The same seed and numbers give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Second and later occurrences of a code: a number of rows, or a share as 0.02 or 2%
    #[arg(long, default_value = "0.02")]
    internal: Share,
    /// Rows whose code is in production already: a number, or a share
    #[arg(long, default_value = "0.28")]
    existing: Share,
    /// Rows that are both; counted in each of the two
    #[arg(long, default_value_t = 0)]
    both: u64,
    /// Records that break a rule of the grammar: a number, or a share
    #[arg(long, default_value = "0")]
    rejects: Share,
    /// Blank lines, and lines of delimiters only
    #[arg(long, default_value_t = 0)]
    skipped: u64,
    /// Codes in production before [default: a quarter more than the existing duplicates]
    #[arg(long)]
    production: Option<u64>,
    /// Where to write
    #[arg(long)]
    out: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    layout: LayoutKind,
    /// [default: mixed for mixed layouts, none for plain ones]
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// The merchant that files with a merchant_id column name
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
    plan.check()
        .map_err(|impossible| Error::advice(format!("these numbers contradict each other: {impossible}")))?;
    let step = crate::say::step(format!("Generating {}", args.out.display()));
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
