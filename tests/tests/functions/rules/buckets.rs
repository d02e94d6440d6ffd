//! Buckets and chunks: cut points of staging cover every code once.

use proptest::prelude::*;
use shared::domain::buckets::{
    MAX_BUCKETS, ROWS_PER_CHUNK, Range, Splitter, bucket_count, parts, ranges, split_points,
};

fn holds(range: &Range, code: &str) -> bool {
    range.lower.as_ref().is_none_or(|lower| code.as_bytes() >= lower.as_bytes())
        && range.upper.as_ref().is_none_or(|upper| code.as_bytes() < upper.as_bytes())
}

#[test]
fn counts_buckets() {
    assert_eq!(bucket_count(0), 1);
    assert_eq!(bucket_count(100), 1);
    assert_eq!(bucket_count(16 * 1024 * 1024 + 1), 2);
    assert_eq!(bucket_count(u64::MAX), MAX_BUCKETS);
}

#[test]
fn sequential_codes_still_cut() {
    let sample: Vec<String> = (0..1000).map(|i| format!("AAA{i:06}")).collect();
    let points = split_points(sample, 4);
    assert_eq!(points, ["AAA000250", "AAA000500", "AAA000750"]);
    assert!(split_points(vec!["X".into(); 100], 8).len() <= 1, "one code gives no ranges");
    assert!(split_points(vec![], 8).is_empty());
}

#[test]
fn cuts_big_buckets_only() {
    assert_eq!(parts(ROWS_PER_CHUNK, 50), 1);
    assert_eq!(parts(10 * ROWS_PER_CHUNK, 50), 10);
    assert_eq!(parts(100 * ROWS_PER_CHUNK, 12), 13);
    assert_eq!(parts(100 * ROWS_PER_CHUNK, 0), 1);
}

proptest! {
    #[test]
    fn ranges_cover_without_overlap(
        sample in proptest::collection::vec("[A-Za-z0-9é]{0,6}", 0..200),
        buckets in 1usize..60,
        again in proptest::collection::vec("[A-C]{1,2}", 0..200),
        parts in 1usize..8,
        codes in proptest::collection::vec("[A-Za-z0-9é]{1,6}", 1..50),
    ) {
        let points = split_points(sample, buckets);
        prop_assert!(points.len() < buckets);
        prop_assert!(points.windows(2).all(|p| p[0] < p[1]));
        let splitter = Splitter::new(&points);
        let all = Range { lower: None, upper: None };
        let bucket_ranges = ranges(&all, &points);
        prop_assert_eq!(bucket_ranges.len(), splitter.buckets());
        for code in &codes {
            // Exactly one bucket holds it, and it is the one that the loader writes to.
            let holding: Vec<usize> =
                (0..bucket_ranges.len()).filter(|i| holds(&bucket_ranges[*i], code)).collect();
            prop_assert_eq!(&holding, &vec![splitter.bucket_of(code.as_bytes())]);
            // Cut again by its own codes, however often each is repeated: still exactly one, and each part has its count.
            let outer = &bucket_ranges[holding[0]];
            let inside = outer.inside(split_points(again.clone(), parts));
            let cut: Vec<Range> = ranges(outer, &inside);
            prop_assert_eq!(cut.iter().filter(|r| holds(r, code)).count(), 1);
            let mut counts = vec![0; inside.len() + 1];
            again.iter().filter(|code| holds(outer, code)).for_each(|code| counts[inside.partition_point(|point| point <= code)] += 1);
            let held: Vec<usize> = cut.iter().map(|r| again.iter().filter(|code| holds(r, code)).count()).collect();
            prop_assert_eq!(held, counts);
        }
    }
}
