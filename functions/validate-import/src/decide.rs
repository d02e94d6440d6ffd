//! Adds the chunks up and decides whether an import is valid, and whether too much of it is duplicate.

use crate::{MarkTotals, Validation};
use shared::db::chunks::ChunkState;
use shared::db::files::ImportFile;
use shared::domain::late::exceeds;
use shared::domain::source::Options;

/// The totals of all chunks.
pub(crate) fn add_up(marked: &[ChunkState]) -> MarkTotals {
    let sum = |count: fn(&ChunkState) -> i64| marked.iter().map(count).sum();
    MarkTotals {
        success: true,
        total_rows: sum(|state| state.staged),
        internal_duplicates: sum(|state| state.internal),
        database_duplicates: sum(|state| state.existing),
        both_duplicates: sum(|state| state.both),
        clean_count: sum(|state| state.clean),
        chunks_processed: marked.len(),
    }
}

/// xor of the hashes of all clean codes.
pub(crate) fn xor_checksums(marked: &[ChunkState]) -> i64 {
    marked.iter().fold(0, |xor, state| xor ^ state.clean_checksum)
}

/// An import is valid if its chunks hold what its files brought. It is blocked if its options allow fewer duplicates: then a person
/// must accept them. `new_duplicates`: clean codes that entered production since the marking.
pub(crate) fn decide(
    options: &Options,
    mark: MarkTotals,
    loaded: &[ImportFile],
    new_duplicates: i64,
) -> Validation {
    let mut errors = Vec::new();
    let staged: i64 = loaded.iter().filter_map(|file| file.counts).map(|counts| counts.staged).sum();
    if staged != mark.total_rows {
        errors.push(format!("the files have {staged} staged rows, the chunks have {}", mark.total_rows));
    }
    let duplicates = mark.total_rows - mark.clean_count;
    Validation {
        valid: errors.is_empty(),
        total_clean_codes: mark.clean_count,
        validation_errors: errors.len(),
        errors,
        new_db_duplicates_found: new_duplicates,
        blocked: exceeds(duplicates, mark.total_rows, options.max_duplicate_ratio),
        approval_stands: false,
        mark,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use shared::db::chunks::ChunkStatus;
    use shared::db::files::{FileCounts, FileStatus};
    use shared::domain::buckets::{Chunk, Range};
    use shared::domain::object::FrozenObject;

    /// A marked chunk with so many rows, and so many of them in production.
    pub(crate) fn chunk(number: i32, staged: i64, existing: i64) -> ChunkState {
        let range = Range { lower: None, upper: None };
        ChunkState {
            chunk: Chunk { number, bucket: 0, range, whole: true },
            staged,
            status: ChunkStatus::Marked,
            internal: 0,
            existing,
            both: 0,
            clean: staged - existing,
            clean_checksum: 1 << number,
            production: None,
            late: 0,
        }
    }

    fn file(staged: i64) -> ImportFile {
        ImportFile {
            file_no: 1,
            object: FrozenObject { key: "a.csv".into(), version_id: None, etag: "etag".into(), bytes: 1 },
            status: FileStatus::Loaded,
            replaces: None,
            layout: None,
            counts: Some(FileCounts { records: staged, staged, rejected: 0, skipped: 0 }),
            findings: Default::default(),
            bucket_rows: None,
            error_reason: None,
            error_message: None,
        }
    }

    fn decide_on(marked: &[ChunkState], loaded: &[ImportFile]) -> Validation {
        let options = Options { max_duplicate_ratio: 0.5, ..Options::default() };
        decide(&options, add_up(marked), loaded, 0)
    }

    #[test]
    fn chunks_are_added_up() {
        let marked = [chunk(0, 10, 4), chunk(1, 5, 1)];
        let mark = add_up(&marked);
        assert_eq!((mark.total_rows, mark.database_duplicates, mark.clean_count), (15, 5, 10));
        assert_eq!((mark.chunks_processed, xor_checksums(&marked)), (2, 0b11));
    }

    #[test]
    fn an_import_with_more_duplicates_than_its_options_allow_is_valid_but_blocked() {
        let half = decide_on(&[chunk(0, 10, 5)], &[file(4), file(6)]);
        assert!(half.valid && !half.blocked, "{half:?}");
        let more = decide_on(&[chunk(0, 10, 6)], &[file(4), file(6)]);
        assert!(more.valid && more.blocked, "{more:?}");
        assert!(!decide_on(&[], &[]).blocked);
    }

    #[test]
    fn an_import_whose_chunks_hold_more_rows_than_its_files_is_invalid() {
        let validation = decide(&Options::default(), add_up(&[chunk(0, 3, 0)]), &[file(2)], 1);
        assert!(!validation.valid);
        assert_eq!(validation.errors, ["the files have 2 staged rows, the chunks have 3"]);
        assert_eq!((validation.validation_errors, validation.new_db_duplicates_found), (1, 1));
    }
}
