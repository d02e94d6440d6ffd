//! Rules of uploads through links: names, batches and sizes, and how a file is cut into parts.

use shared::domain::file_name::{FileName, RULE};
use shared::domain::ids::MerchantId;
use shared::domain::key::{self, KeyError};
use std::time::Duration;
use thiserror::Error;
use uuid::Uuid;

const MIB: u64 = 1024 * 1024;
/// The largest object of S3 (Amazon S3 User Guide, "Multipart upload limits").
const MAX_SIZE: u64 = 5 * 1024 * 1024 * MIB;
/// The largest file that goes in one PUT.
const MAX_SINGLE: u64 = 16 * MIB;
/// The smallest part. S3 wants at least 5 MiB of every part but the last.
const MIN_PART: u64 = 8 * MIB;
/// The most parts of a file. S3 takes 10,000, but a signed link with a session token takes 2 KB, and Lambda's answers end
/// at 6 MB.
const MAX_PARTS: u64 = 2000;
const MAX_NAME_BYTES: usize = 255;
const MAX_BATCH_BYTES: usize = 64;

/// Why an upload is refused. `Display` is for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UploadError {
    #[error("the name must have 1 to {MAX_NAME_BYTES} bytes")]
    NameLength,
    #[error(
        "the name must be that of one file, without `/`, `\\` and control characters, and must not begin with a dot, nor begin or end with a space"
    )]
    NameCharacters,
    #[error("no import takes a file of this name: {RULE}")]
    NameEnding,
    #[error(
        "a batch is 1 to {MAX_BATCH_BYTES} letters, digits, `.`, `_` and `-`, and does not begin with a dot"
    )]
    Batch,
    #[error("the size must be between 1 and {MAX_SIZE} bytes")]
    Size,
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl UploadError {
    /// The member of the request that is at fault, as a JSON pointer.
    pub(crate) fn pointer(&self) -> &'static str {
        match self {
            Self::NameLength | Self::NameCharacters | Self::NameEnding | Self::Key(_) => "/name",
            Self::Batch => "/batch",
            Self::Size => "/size",
        }
    }
}

/// An upload that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The key of its object.
    pub(crate) key: String,
    /// In bytes.
    pub(crate) size: u64,
    /// In bytes; `None`: in one PUT.
    pub(crate) part_size: Option<u64>,
}

/// Checks an upload. Files of a batch lie in its folder; a file without one lies in a folder of its own.
pub(crate) fn plan(
    merchant: MerchantId,
    id: Uuid,
    name: &str,
    size: u64,
    batch: Option<&str>,
) -> Result<Plan, UploadError> {
    check_name(name)?;
    if let Some(batch) = batch {
        check_batch(batch)?;
    }
    if !(1..=MAX_SIZE).contains(&size) {
        return Err(UploadError::Size);
    }
    let folder = batch.map_or_else(|| id.to_string(), str::to_owned);
    let key = format!("uploads/{merchant}/{folder}/{name}");
    key::check_key(merchant, &key)?;
    Ok(Plan { key, size, part_size: part_size(size) })
}

fn check_name(name: &str) -> Result<(), UploadError> {
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Err(UploadError::NameLength);
    }
    let bad = |c: char| c == '/' || c == '\\' || c.is_control();
    if name.chars().any(bad) || name.starts_with('.') || name.trim() != name {
        return Err(UploadError::NameCharacters);
    }
    if FileName::of(name) == FileName::Importable { Ok(()) } else { Err(UploadError::NameEnding) }
}

fn check_batch(batch: &str) -> Result<(), UploadError> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let good =
        (1..=MAX_BATCH_BYTES).contains(&batch.len()) && !batch.starts_with('.') && batch.bytes().all(known);
    if good { Ok(()) } else { Err(UploadError::Batch) }
}

fn part_size(size: u64) -> Option<u64> {
    if size <= MAX_SINGLE {
        return None;
    }
    let least = size.div_ceil(MAX_PARTS).max(MIN_PART);
    Some(least.div_ceil(MIB) * MIB)
}

/// The sizes of the parts in order.
pub(crate) fn part_sizes(size: u64, part_size: u64) -> impl Iterator<Item = u64> {
    (0..size.div_ceil(part_size)).map(move |part| part_size.min(size - part * part_size))
}

/// How long links work: a quarter of an hour and a second for every MiB, at most 12 hours. A slower client asks for fresh
/// ones.
pub(crate) fn link_lifetime(size: u64) -> Duration {
    Duration::from_secs((900 + size / MIB).min(12 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn merchant() -> MerchantId {
        MerchantId(Uuid::from_u128(7))
    }

    fn plan_of(name: &str, size: u64, batch: Option<&str>) -> Result<Plan, UploadError> {
        plan(merchant(), Uuid::from_u128(9), name, size, batch)
    }

    #[test]
    fn a_key_has_the_merchant_the_batch_and_the_name() {
        let m = merchant();
        let id = Uuid::from_u128(9);
        assert_eq!(plan_of("a.csv", 1, None).expect("good").key, format!("uploads/{m}/{id}/a.csv"));
        assert_eq!(
            plan_of("ä b.CSV.gz", 1, Some("spring-2026")).expect("good").key,
            format!("uploads/{m}/spring-2026/ä b.CSV.gz")
        );
        let other = Uuid::from_u128(10).to_string();
        assert_eq!(
            plan_of("a.tsv.zst", 1, Some(&other)).expect("good").key,
            format!("uploads/{m}/{other}/a.tsv.zst")
        );
    }

    #[test]
    fn refuses_bad_names_batches_and_sizes() {
        let long = format!("{}.csv", "x".repeat(252));
        for name in [
            "",
            "a/b.csv",
            "../a.csv",
            "..",
            ".csv",
            ".a.csv",
            "a\\b.csv",
            "a\n.csv",
            "a\0.csv",
            " a.csv",
            "a.csv ",
            "a.exe",
            "a.csv.exe",
            "manifest.json",
            "a.csv.gz.gz",
            "csv",
            &long,
        ] {
            assert_eq!(plan_of(name, 1, None).expect_err(name).pointer(), "/name", "{name}");
        }
        for batch in ["", "..", ".", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(plan_of("a.csv", 1, Some(batch)), Err(UploadError::Batch), "{batch}");
        }
        for size in [0, MAX_SIZE + 1, u64::MAX] {
            assert_eq!(plan_of("a.csv", size, None), Err(UploadError::Size), "{size}");
        }
    }

    #[test]
    fn the_smallest_and_the_largest_multipart_upload_fit_s3() {
        assert_eq!(plan_of("a.csv", MAX_SINGLE, None).expect("good").part_size, None);
        assert_eq!(plan_of("a.csv", MAX_SINGLE + 1, None).expect("good").part_size, Some(MIN_PART));
        let largest = plan_of("a.csv", MAX_SIZE, None).expect("good").part_size.expect("parts");
        assert!(largest <= 5 * 1024 * MIB, "S3's largest part");
        assert_eq!(link_lifetime(1), Duration::from_secs(900));
        assert_eq!(link_lifetime(MAX_SIZE), Duration::from_secs(43_200));
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_size_and_fit_s3(size in (MAX_SINGLE + 1)..=MAX_SIZE) {
            let part_size = part_size(size).expect("parts");
            let sizes: Vec<u64> = part_sizes(size, part_size).collect();
            prop_assert!(sizes.len() as u64 <= MAX_PARTS);
            prop_assert_eq!(sizes.iter().sum::<u64>(), size);
            let (last, rest) = sizes.split_last().expect("a part");
            prop_assert!(*last >= 1 && *last <= part_size);
            prop_assert!(rest.iter().all(|part| *part == part_size && *part >= MIN_PART));
        }
    }
}
