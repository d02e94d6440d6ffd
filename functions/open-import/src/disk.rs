//! The disk that an import needs in the database: told before anything is loaded. An import that doesn't fit fails then, and not
//! when the disk is full.

use shared::db::files::ImportFile;
use shared::db::jobs::Job;
use shared::domain::layout::{Compression, Density};
use shared::domain::step::{StepError, StepResult};
use shared::lambda::App;

/// Bytes of a record beside its text, measured on files of 13 to 113 bytes a record (docs/BENCHMARK.md): in staging, in `codes` with
/// its indexes, and in the write-ahead log of the insert.
const STAGED: u64 = 50;
const PRODUCTION: u64 = 140;
const LOG: u64 = 210;

/// How many times an object that is compressed becomes as long, where its head doesn't tell, and how long its records are.
/// Promotional codes compress to about a quarter.
const USUAL_RATIO: u64 = 4;
const USUAL_RECORD: u64 = 80;

/// What files hold once they are decompressed: an estimate by their heads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of text.
    pub text: u64,
    /// Records, the header among them.
    pub records: u64,
}

impl Contents {
    /// Of one file. `density`: what its head was inspected to hold.
    pub(crate) fn of(file: &ImportFile, density: Option<Density>) -> Self {
        let bytes = file.object.bytes.cast_unsigned();
        let layout = file.layout.as_ref();
        if let Some(head) = density.or(layout.and_then(|layout| layout.density)).filter(|head| head.bytes > 0)
        {
            let scale = |of_head: u64| u128::from(bytes) * u128::from(of_head) / u128::from(head.bytes);
            let scale = |of_head: u64| u64::try_from(scale(of_head)).unwrap_or(u64::MAX);
            return Self { text: scale(head.text), records: scale(head.records) };
        }
        let by_name = || [".gz", ".zst"].iter().any(|end| file.object.key.ends_with(end));
        let compressed = layout.map_or_else(by_name, |layout| layout.compression != Compression::None);
        let text = if compressed { bytes.saturating_mul(USUAL_RATIO) } else { bytes };
        Self { text, records: text / USUAL_RECORD }
    }

    fn and(self, other: Self) -> Self {
        let text = self.text.saturating_add(other.text);
        Self { text, records: self.records.saturating_add(other.records) }
    }

    /// Their bytes where each record has so many beside its text.
    fn stored(self, beside: u64) -> u64 {
        self.records.saturating_mul(beside).saturating_add(self.text)
    }
}

/// Sums the contents of files up.
pub(crate) fn sum(contents: impl Iterator<Item = Contents>) -> Contents {
    contents.fold(Contents::default(), Contents::and)
}

/// Bytes that an import takes of the database's disk, if every code of it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Its staged rows, and the copy that the insert makes of them in order of code.
    pub staging: u64,
    /// Its rows in production.
    pub production: u64,
    /// The write-ahead log of their insert: a checkpoint can't let go of it before the insert has ended.
    pub log: u64,
}

impl Needed {
    /// `all`: what its files hold; `to_load`: those of them that are not in staging yet.
    pub fn for_files(all: Contents, to_load: Contents) -> Self {
        let staging = to_load.stored(STAGED).saturating_add(all.stored(STAGED));
        Self { staging, production: all.stored(PRODUCTION), log: all.stored(LOG) }
    }

    /// In all.
    pub fn total(&self) -> u64 {
        self.staging.saturating_add(self.production).saturating_add(self.log)
    }
}

/// Says what the import needs. Where the size of the database's disk is known, fails with `InvalidInput` if that is more than is free.
pub(crate) async fn check(app: &App, job: &Job, needed: Needed) -> StepResult<()> {
    let Needed { staging, production, log } = needed;
    let free = match app.config.database_storage {
        Some(storage) => Some(storage.saturating_sub(app.db.size().await?)),
        None => None,
    };
    let total = needed.total();
    tracing::info!(job_id = %job.id, total, staging, production, log, free, "disk that the import needs, in bytes");
    match (free, app.config.database_storage) {
        (Some(free), Some(storage)) if total > free => Err(StepError::invalid(format!(
            "the import needs about {} of the database's disk ({} for staging, {} for the codes, {} for the write-ahead log of their insert), and {} of {} are free. Enlarge the disk and say so in DatabaseStorageGiB, or clear the staging of imports that have ended, then retry; or split the files into smaller imports",
            gib(total),
            gib(staging),
            gib(production),
            gib(log),
            gib(free),
            gib(storage),
        ))),
        _ => Ok(()),
    }
}

/// `12.3 GiB`, or in MiB below one.
fn gib(bytes: u64) -> String {
    const MIB: f64 = 1_048_576.0;
    let mib = bytes as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_copy_of_a_record_has_its_text_and_what_belongs_to_the_copy() {
        let (all, none) = (Contents { text: 1_300, records: 100 }, Contents::default());
        let needed = Needed::for_files(all, all);
        assert_eq!((needed.staging, needed.production, needed.log), (12_600, 15_300, 22_300));
        assert_eq!(needed.total(), 50_200);
        assert_eq!(Needed::for_files(all, none).staging, 6_300, "what is staged has its room");
    }

    #[test]
    fn sizes_are_said_in_a_unit_of_their_own() {
        assert_eq!((gib(13_207_024_435), gib(1_572_864)), ("12.3 GiB".into(), "1.5 MiB".into()));
    }
}
