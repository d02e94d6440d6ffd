//! Tests the generator: counts each written batch with [`super::recount`] and compares with its expected counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::recount::recount;
use super::*;

/// A directory that is removed at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("onceload-generate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn everything() -> Plan {
    Plan {
        rows: 40_000,
        files: 17,
        internal: 900,
        existing: 11_000,
        both: 25,
        rejects: 700,
        skipped: 300,
        production: 14_000,
        ..Plan::workload()
    }
}

fn bytes_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_batch_with_every_kind_of_record_has_the_expected_counts() {
    let dir = Scratch::new();
    let plan = everything();
    let expected = generate(&plan, &dir.0).unwrap();
    assert_eq!(recount(&dir.0, &plan.merchant_id), expected);
    assert_eq!(expected.rejects_by_reason.len(), Fault::ALL.len(), "{:?}", expected.rejects_by_reason);
    let written: Expected = serde_json::from_slice(&fs::read(dir.0.join(EXPECTED)).unwrap()).unwrap();
    assert_eq!(written, expected);
    let endings = [".csv", ".csv.gz", ".csv.zst"];
    assert!(endings.iter().all(|end| expected.files.iter().any(|file| file.name.ends_with(end))));
}

#[test]
fn the_workload_keeps_its_shares_at_a_hundredth() {
    let dir = Scratch::new();
    let plan = Plan::workload_of(155_204);
    let expected = generate(&plan, &dir.0).unwrap();
    assert_eq!(recount(&dir.0, &plan.merchant_id), expected);
    assert_eq!((expected.rejected, expected.skipped, expected.files.len()), (0, 0, 63));
    assert_eq!((expected.internal_duplicates, expected.database_duplicates), (3_103, 43_022));
    assert_eq!((expected.both_duplicates, expected.clean), (1, 109_080));
}

#[test]
fn the_same_seed_produces_the_same_bytes_and_another_seed_others() {
    let (one, two, other) = (Scratch::new(), Scratch::new(), Scratch::new());
    let plan = Plan { rows: 3_000, internal: 60, existing: 800, production: 900, ..everything() };
    generate(&plan, &one.0).unwrap();
    generate(&plan, &two.0).unwrap();
    generate(&Plan { seed: 2, ..plan }, &other.0).unwrap();
    assert_eq!(bytes_of(&one.0), bytes_of(&two.0));
    assert_ne!(bytes_of(&one.0), bytes_of(&other.0));
}

#[test]
fn a_batch_replaces_a_larger_one_in_the_same_directory() {
    let (both, fresh) = (Scratch::new(), Scratch::new());
    let small = Plan {
        rows: 500,
        files: 2,
        internal: 5,
        existing: 9,
        both: 1,
        rejects: 7,
        skipped: 3,
        ..everything()
    };
    generate(&Plan { files: 9, ..small.clone() }, &both.0).unwrap();
    fs::write(both.0.join("notes.txt"), "mine").unwrap();
    generate(&small, &both.0).unwrap();
    assert_eq!(fs::read_to_string(both.0.join("notes.txt")).unwrap(), "mine");
    fs::remove_file(both.0.join("notes.txt")).unwrap();
    generate(&small, &fresh.0).unwrap();
    assert_eq!(bytes_of(&both.0), bytes_of(&fresh.0));
}

#[test]
fn an_impossible_plan_writes_nothing() {
    let dir = Scratch::new();
    let error = generate(&Plan { both: 901, ..everything() }, &dir.0).unwrap_err();
    assert!(error.to_string().contains("901 duplicates of both kinds"), "{error}");
    assert!(!dir.0.exists());
}

#[test]
fn a_second_import_has_only_duplicates() {
    let dir = Scratch::new();
    let plan = everything();
    let expected = generate(&plan, &dir.0).unwrap().imported_again();
    let codes = Codes::new(plan.seed, true);
    let mut after = Vec::new();
    copy_lines(&codes, 0..plan.production + plan.clean(), &mut after).unwrap();
    fs::write(dir.0.join(PRODUCTION), after).unwrap();
    assert_eq!(recount(&dir.0, &plan.merchant_id), expected);
    assert_eq!(expected.clean, 0);
}

#[test]
fn a_share_is_a_number_of_rows_a_ratio_or_a_percentage() {
    for (text, share) in [
        ("310312", Share::Rows(310_312)),
        ("1_000", Share::Rows(1_000)),
        ("0.02", Share::Ratio(0.02)),
        ("28%", Share::Ratio(0.28)),
        ("1", Share::Rows(1)),
        ("1.0", Share::Ratio(1.0)),
    ] {
        assert_eq!(text.parse(), Ok(share));
    }
    for text in ["", "-1", "1.5", "120%", "many", "NaN%", "1e3"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
}

/// A strategy for consistent plans.
fn plans() -> impl Strategy<Value = Plan> {
    let layout = prop_oneof![4 => Just(LayoutKind::Mixed), 1 => Just(LayoutKind::Plain)];
    let compression = prop_oneof![
        Just(Compression::Mixed),
        Just(Compression::None),
        Just(Compression::Gzip),
        Just(Compression::Zstd)
    ];
    let counts = (0_u64..200, 0_u64..200, 0_u64..60, 0_u64..60, 0_u64..80, 0_u64..40, 0_u64..100);
    (any::<u64>(), 1_u64..20, counts, layout, compression).prop_map(
        |(seed, files, (clean, firsts, repeats, both, rejects, skipped, more), layout, compression)| {
            let clean = if firsts == 0 { clean.max(1) } else { clean };
            let repeats = if clean == 0 { 0 } else { repeats };
            let both = if firsts == 0 { 0 } else { both };
            let staged = clean + firsts + repeats + both;
            Plan {
                seed,
                merchant_id: "0198c7a2-5d1e-7b3a-9f00-4d2c1b0a9e8f".to_owned(),
                rows: staged + rejects + skipped,
                files: files.min(staged),
                internal: repeats + both,
                existing: firsts + both,
                both,
                rejects,
                skipped,
                production: firsts + more,
                layout,
                compression,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_has_the_expected_counts(plan in plans()) {
        prop_assert_eq!(plan.check(), Ok(()));
        let dir = Scratch::new();
        let expected = generate(&plan, &dir.0).unwrap();
        prop_assert_eq!(recount(&dir.0, &plan.merchant_id), expected);
    }
}
