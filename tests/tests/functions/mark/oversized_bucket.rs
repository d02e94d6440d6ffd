//! Codes that sampling can't split evenly: one bucket, one prefix, one code repeated.

use onceload_tests::{State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;
use shared::lambda::Budget;
use std::fmt::Write;
use std::time::Duration;

/// 900,000 sequential codes, and one of them 400,000 times more: one bucket with more rows than a chunk may hold.
#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_bucket_is_split_into_chunks() {
    let world = World::new().await;
    let mut text = String::with_capacity(16 << 20);
    text.push_str("code\n");
    for i in 0..900_000 {
        let _ = writeln!(text, "AAA{i:06}");
    }
    for _ in 0..400_000 {
        text.push_str("AAA450000\n");
    }
    world.add_codes(&["AAA450000", "AAA000000", "AAA899999", "B", "0"]).await;
    let run = world.import_to_end("sequential.csv", text).await;
    let buckets = world.db.int("SELECT count(DISTINCT bucket_no) FROM onceload.import_chunks").await;
    assert_eq!(buckets, 1);
    assert!(run.chunks.len() > 1, "{:?}", run.chunks);
    let gaps = world
        .db
        .int(
            "SELECT count(*) FROM onceload.import_chunks a JOIN onceload.import_chunks b ON b.chunk_no = a.chunk_no + 1
              WHERE a.upper_bound IS DISTINCT FROM b.lower_bound",
        )
        .await;
    assert_eq!(gaps, 0, "chunks cover without gaps or overlap");
    let job = world.read_job(run.job).await;
    assert_eq!(job["staged"], 1_300_000);
    assert_eq!(job["internal_duplicates"], 400_000);
    assert_eq!(job["database_duplicates"], 400_003);
    assert_eq!(job["both_duplicates"], 400_000);
    assert_eq!(job["codes_inserted"], 899_997);
    assert_eq!(job["verification"]["verified"], json!(true));
    assert_eq!(world.count_codes().await, 900_002);
}

/// A point that cuts a bucket is taken from its codes. If all of them are one, it is the bucket's own lower bound, and
/// cuts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_one_repeated_code_is_one_chunk() {
    let world = World::new().await;
    let text = format!("code\n{}B\n", "N/A\n".repeat(650_000));
    let files = [world.upload("a.csv", text.clone()), world.upload("b.csv", text)];
    let mut run = world.import_objects(&[&files[0], &files[1]]);
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["staged"], &job["internal_duplicates"]), (&json!(1_300_002), &json!(1_300_000)));
    assert_eq!(job["verification"]["verified"], json!(true));
    assert_eq!(world.count_codes().await, 2);
}

/// 3.2 million rows, of which 45 % are one value, in order and not.
#[tokio::test(flavor = "multi_thread")]
async fn one_value_may_be_almost_half_of_all_codes() {
    let world = World::new().await;
    let (rows, repeated) = (3_200_000u64, 1_440_000u64);
    let mut text = String::with_capacity(48 << 20);
    text.push_str("code\n");
    for i in 0..rows {
        // 9 of 20 rows, so that every part of the file has its share.
        let _ = if i % 20 < 9 {
            writeln!(text, "N/A")
        } else {
            writeln!(text, "{:010X}", i * 0x9e37 % 0xff_ffff_ffff)
        };
    }
    let run = world.import_to_end("repeated.csv", text).await;
    let job = world.read_job(run.job).await;
    assert_eq!((&job["staged"], &job["internal_duplicates"]), (&json!(rows), &json!(repeated - 1)));
    assert_eq!(job["codes_inserted"], json!(rows - repeated + 1));
    assert_eq!(job["restage_count"], json!(0), "nothing was lost");
    assert_eq!(job["verification"]["verified"], json!(true));
}

/// Repeated, the cut would have no more time.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_runs_out_of_time_is_not_transient() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\n");
    run.until(State::PlanChunks).await.expect(State::PlanChunks);
    // So many that the bucket is cut, on a table that nobody may read.
    world.db.exec("UPDATE onceload.import_files SET bucket_rows = '{2000000}'").await;
    let reader = world.db.connect().await;
    let table = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                  WHERE schemaname = 'onceload_staging' AND tablename LIKE 'b%'";
    let table = world.db.value(table).await;
    reader.batch_execute(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await.unwrap();
    let input = mark_duplicates::Input { job_id: run.job, attempt: run.attempt, chunk: None };
    let a_second = Budget::of(Duration::from_secs(1));
    let error = mark_duplicates::handle(world.app.clone(), input, a_second).await.expect_err("out of time");
    assert_eq!(error.kind, StepErrorKind::TimeBudgetExceeded, "{error}");
    assert!(error.message.contains("split the import"), "{error}");
}
