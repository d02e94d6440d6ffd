//! Codes that no sample cuts well: all in one bucket, all with one prefix, one code over and over.

use onceload_tests::{Bench, State};
use serde_json::json;
use std::fmt::Write;

/// 900,000 sequential codes and 400,000 times one of them: one bucket, more than a chunk may hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_too_big_is_cut() {
    let bench = Bench::new().await;
    let mut text = String::with_capacity(16 << 20);
    text.push_str("code\n");
    for i in 0..900_000 {
        let _ = writeln!(text, "AAA{i:06}");
    }
    for _ in 0..400_000 {
        text.push_str("AAA450000\n");
    }
    bench.add_codes(&["AAA450000", "AAA000000", "AAA899999", "B", "0"]).await;
    let mut run = bench.file("sequential.csv", text);
    run.finish(&bench.actor).await.expect(State::Done);
    let buckets = bench.db.int("SELECT count(DISTINCT bucket_no) FROM import_chunks").await;
    assert_eq!(buckets, 1);
    assert!(run.chunks.len() > 1, "{:?}", run.chunks);
    let gaps = bench
        .db
        .int(
            "SELECT count(*) FROM import_chunks a JOIN import_chunks b ON b.chunk_no = a.chunk_no + 1
              WHERE a.upper_bound IS DISTINCT FROM b.lower_bound",
        )
        .await;
    assert_eq!(gaps, 0, "chunks cover without gaps or overlap");
    let job = bench.job(run.job).await;
    assert_eq!(job["staged"], 1_300_000);
    assert_eq!(job["internal_duplicates"], 400_000);
    assert_eq!(job["database_duplicates"], 400_003);
    assert_eq!(job["both_duplicates"], 400_000);
    assert_eq!(job["codes_inserted"], 899_997);
    assert_eq!(job["verification"]["verified"], json!(true));
    assert_eq!(bench.codes().await, 900_002);
}
