//! The plan of a batch, and the check that its numbers are consistent.

use serde::{Deserialize, Serialize};

/// The layouts of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LayoutKind {
    /// Files differ in delimiter, column order, headers, quoting, line ends and date formats.
    #[default]
    Mixed,
    /// All files are the same: comma, line feed, nine columns, and no value without a fault needs quotes.
    Plain,
}

/// The compression of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Some files are plain, some gzip with one or several members, some zstd.
    Mixed,
    #[default]
    None,
    Gzip,
    Zstd,
}

/// The numbers of a batch, from which all counts of its import follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The seed of the generator. The same plan produces the same bytes.
    pub seed: u64,
    /// The merchant's UUID in lower case.
    pub merchant_id: String,
    /// Records of all kinds, without headers.
    pub rows: u64,
    pub files: u64,
    /// Second and later occurrences of a code among the staged records, `both` included.
    pub internal: u64,
    /// Staged records whose code is in production, `both` included.
    pub existing: u64,
    /// Staged records that are internal and existing duplicates at once.
    pub both: u64,
    /// Records that break one rule of the grammar.
    pub rejects: u64,
    /// Blank lines, and lines of delimiters only.
    pub skipped: u64,
    /// Codes that the merchant has before the import.
    pub production: u64,
    pub layout: LayoutKind,
    pub compression: Compression,
}

/// A contradiction between the numbers of a plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Impossible {
    #[error("a batch needs at least one file, and at most 999999")]
    Files,
    #[error("{rejects} rejects and {skipped} skipped records are more than {rows} rows")]
    Faults { rows: u64, rejects: u64, skipped: u64 },
    #[error("{files} files need at least one staged record each, but there are {staged}")]
    FewerStagedThanFiles { files: u64, staged: u64 },
    #[error("{both} duplicates of both kinds are more than the {internal} internal duplicates")]
    BothAboveInternal { both: u64, internal: u64 },
    #[error(
        "{both} of {existing} existing duplicates are repetitions, but at least one must be a first occurrence"
    )]
    BothWithoutFirst { existing: u64, both: u64 },
    #[error("{duplicates} duplicate rows are more than {staged} staged rows")]
    Duplicates { duplicates: u64, staged: u64 },
    #[error("{repeats} internal duplicates repeat new codes, but there is no new code to repeat")]
    NothingToRepeat { repeats: u64 },
    #[error("{needed} codes must be in production, but there are only {production}")]
    Production { needed: u64, production: u64 },
    #[error("`{0}` is not a UUID")]
    Merchant(String),
}

/// The merchant of batches for which no other is given.
pub const EXAMPLE_MERCHANT: &str = "11111111-1111-4111-8111-111111111111";

/// The full-size workload, with the numbers of a real batch.
const WORKLOAD: Plan = Plan {
    seed: 20_260_101,
    merchant_id: String::new(),
    rows: 15_520_410,
    files: 63,
    internal: 310_312,
    existing: 4_302_241,
    both: 37,
    rejects: 0,
    skipped: 0,
    production: 5_356_971,
    layout: LayoutKind::Mixed,
    compression: Compression::Mixed,
};

impl Plan {
    /// The full-size workload: 15,520,410 rows in 63 files, 10,907,894 of them clean.
    pub fn workload() -> Self {
        Self { merchant_id: EXAMPLE_MERCHANT.to_owned(), ..WORKLOAD }
    }

    /// The workload scaled to `rows` rows, rounded to whole rows.
    pub fn workload_of(rows: u64) -> Self {
        let scale = |n: u64| {
            let (n, rows, whole) = (u128::from(n), u128::from(rows), u128::from(WORKLOAD.rows));
            ((n * rows + whole / 2) / whole) as u64
        };
        Self {
            rows,
            files: WORKLOAD.files.min(rows.max(1)),
            internal: scale(WORKLOAD.internal),
            existing: scale(WORKLOAD.existing),
            both: scale(WORKLOAD.both).max(u64::from(rows >= 1_000)),
            production: scale(WORKLOAD.production),
            ..Self::workload()
        }
    }

    /// The number of records that reach staging. Valid after [`Plan::check`].
    pub fn staged(&self) -> u64 {
        self.rows - self.rejects - self.skipped
    }

    /// The number of staged records that are not duplicates. Valid after [`Plan::check`].
    pub fn clean(&self) -> u64 {
        self.staged() + self.both - self.internal - self.existing
    }

    /// The number of distinct production codes in the files.
    pub fn existing_codes(&self) -> u64 {
        self.existing - self.both
    }

    /// Checks that the numbers don't contradict each other.
    pub fn check(&self) -> Result<(), Impossible> {
        let Self { rows, files, internal, existing, both, rejects, skipped, production, .. } = *self;
        if files == 0 || files > 999_999 {
            return Err(Impossible::Files);
        }
        let faults = rejects.checked_add(skipped).filter(|&sum| sum <= rows);
        let staged = rows - faults.ok_or(Impossible::Faults { rows, rejects, skipped })?;
        if staged < files {
            return Err(Impossible::FewerStagedThanFiles { files, staged });
        }
        if both > internal {
            return Err(Impossible::BothAboveInternal { both, internal });
        }
        if both > existing || (both > 0 && both == existing) {
            return Err(Impossible::BothWithoutFirst { existing, both });
        }
        let duplicates = (internal - both).saturating_add(existing);
        if duplicates > staged {
            return Err(Impossible::Duplicates { duplicates, staged });
        }
        if internal > both && duplicates == staged {
            return Err(Impossible::NothingToRepeat { repeats: internal - both });
        }
        if production < existing - both {
            return Err(Impossible::Production { needed: existing - both, production });
        }
        if !is_uuid(&self.merchant_id) {
            return Err(Impossible::Merchant(self.merchant_id.clone()));
        }
        Ok(())
    }

    /// The number of records of each file, at least one. Plain files have equal numbers; mixed files have between half and
    /// one and a half times the mean.
    pub(super) fn rows_per_file(&self) -> Vec<u64> {
        let mut random = super::random::Random::new(self.seed, 1);
        let weights: Vec<u64> = (0..self.files)
            .map(|_| match self.layout {
                LayoutKind::Mixed => 50 + random.below(101),
                LayoutKind::Plain => 100,
            })
            .collect();
        let whole: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
        let spare = u128::from(self.rows - self.files);
        let mut cut = 0_u128;
        let mut given = 0_u128;
        weights
            .iter()
            .map(|&weight| {
                cut += u128::from(weight);
                let until = spare * cut / whole;
                let rows = 1 + (until - given) as u64;
                given = until;
                rows
            })
            .collect()
    }
}

/// Whether a text has lower-case hexadecimal digits in groups of 8-4-4-4-12.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_workload_adds_up() {
        let plan = Plan::workload();
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(plan.staged(), 15_520_410);
        assert_eq!(plan.clean(), 10_907_894);
        assert_eq!(plan.existing_codes(), 4_302_204);
        assert_eq!(plan.rows_per_file().iter().sum::<u64>(), 15_520_410);
        assert_eq!(plan.rows_per_file().len(), 63);
        assert_eq!(Plan::workload_of(plan.rows), plan);
    }

    #[test]
    fn scaled_workloads_keep_their_shares() {
        for rows in [100, 1_000, 1_500_000, 7_760_205, 21_340_000, 50_000_000] {
            let plan = Plan::workload_of(rows);
            assert_eq!(plan.check(), Ok(()), "{rows} rows");
            let near = |part: u64, whole: u64| {
                (part as f64 - whole as f64 * rows as f64 / WORKLOAD.rows as f64).abs() <= 1.5
            };
            assert!(near(plan.internal, WORKLOAD.internal), "{plan:?}");
            assert!(near(plan.existing, WORKLOAD.existing), "{plan:?}");
            assert!(near(plan.production, WORKLOAD.production), "{plan:?}");
            assert!(near(plan.clean(), Plan::workload().clean()), "{plan:?}");
        }
    }

    #[test]
    fn contradictory_numbers_are_named() {
        let plan = Plan { rows: 100, files: 4, internal: 10, existing: 20, both: 2, ..Plan::workload() };
        assert_eq!(plan.check(), Ok(()));
        let cases: [(Plan, &str); 9] = [
            (Plan { files: 0, ..plan.clone() }, "at least one file"),
            (Plan { rejects: 60, skipped: 60, ..plan.clone() }, "more than 100 rows"),
            (Plan { rejects: 97, ..plan.clone() }, "4 files need"),
            (Plan { both: 11, ..plan.clone() }, "more than the 10 internal"),
            (Plan { existing: 2, ..plan.clone() }, "at least one must"),
            (Plan { existing: 99, ..plan.clone() }, "more than 100 staged"),
            (Plan { existing: 92, ..plan.clone() }, "no new code"),
            (Plan { production: 17, ..plan.clone() }, "18 codes must be in production"),
            (Plan { merchant_id: "42".into(), ..plan.clone() }, "not a UUID"),
        ];
        for (case, words) in cases {
            let error = case.check().expect_err(words).to_string();
            assert!(error.contains(words), "{error:?} does not say {words:?}");
        }
    }
}
