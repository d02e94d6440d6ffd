//! Whole imports: every count against numbers that were known before the first byte, and every step twice.

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::join_all;
use onceload_tests::fixture::app;
use onceload_tests::{Bench, Run, State};
use serde_json::json;
use shared::domain::step::{StepErrorKind, StepResult};
use std::path::PathBuf;
use std::pin::pin;
use xtask::generate::{Codes, Compression, Expected, LayoutKind, MANIFEST, Plan, copy_lines, generate};

/// A directory that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("onceload-tests-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mixed(bench: &Bench, rows: u64, files: u64) -> Plan {
    Plan {
        seed: 7,
        merchant_id: bench.merchant.to_string(),
        rows,
        files,
        internal: rows / 20,
        existing: rows / 4,
        both: rows / 100,
        rejects: rows / 30,
        skipped: rows / 50,
        production: rows / 3,
        layout: LayoutKind::Mixed,
        compression: Compression::Mixed,
    }
}

/// Codes by index into a table of one column.
async fn copy_codes(bench: &Bench, plan: &Plan, table: &str, indexes: std::ops::Range<u64>) {
    let mut lines = Vec::new();
    copy_lines(&Codes::new(plan.seed, true), indexes, &mut lines).unwrap();
    let mut client = bench.db.connect().await;
    let tx = client.transaction().await.unwrap();
    {
        let mut sink =
            pin!(tx.copy_in::<_, Bytes>(&format!("COPY {table} (code) FROM STDIN")).await.unwrap());
        sink.send(lines.into()).await.unwrap();
        sink.finish().await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Writes the batch, puts it under `stage/`, fills production, and answers with what must be counted.
async fn stage_batch(bench: &Bench, plan: &Plan, scratch: &Scratch) -> Expected {
    let expected = generate(plan, &scratch.0).unwrap();
    for file in &expected.files {
        bench.s3.put_file(&bench.stage_key(&format!("b/{}", file.name)), &scratch.0.join(&file.name));
    }
    bench
        .db
        .exec("CREATE TABLE before (code text COLLATE \"C\"); CREATE TABLE after (code text COLLATE \"C\")")
        .await;
    copy_codes(bench, plan, "before", 0..plan.production).await;
    // The files' new codes have the indexes after production's: known without reading a single file.
    copy_codes(bench, plan, "after", 0..plan.production + expected.clean).await;
    bench
        .db
        .exec(&format!("INSERT INTO codes (merchant_id, code) SELECT '{}', code FROM before", bench.merchant))
        .await;
    expected
}

async fn assert_counts(bench: &Bench, run: &Run, expected: &Expected) {
    let job = bench.job(run.job).await;
    let counts = [
        ("records", expected.records),
        ("staged", expected.staged),
        ("rejected", expected.rejected),
        ("skipped", expected.skipped),
        ("internal_duplicates", expected.internal_duplicates),
        ("database_duplicates", expected.database_duplicates),
        ("both_duplicates", expected.both_duplicates),
        ("total_codes_to_insert", expected.clean),
        ("codes_inserted", expected.clean),
        ("late_duplicates", 0),
    ];
    for (column, count) in counts {
        assert_eq!(job[column], json!(count), "{column}");
    }
    let reasons = bench
        .db
        .column(&format!(
            "SELECT reason || ' ' || count(*) FROM import_rejects WHERE job_id = '{}' GROUP BY reason ORDER BY reason",
            run.job
        ))
        .await;
    let wanted: Vec<String> =
        expected.rejects_by_reason.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    assert_eq!(reasons, wanted);
    let files = bench
        .db
        .column(&format!(
            "SELECT concat_ws(' ', split_part(key, '/', 4), records, staged, rejected, skipped)
               FROM import_files WHERE job_id = '{}' ORDER BY file_no",
            run.job
        ))
        .await;
    let wanted: Vec<String> = expected
        .files
        .iter()
        .map(|f| format!("{} {} {} {} {}", f.name, f.records, f.staged, f.rejected, f.skipped))
        .collect();
    assert_eq!(files, wanted);
    let flags = bench
        .db
        .rows(&format!(
            "SELECT count(*), count(*) FILTER (WHERE internal_dup), count(*) FILTER (WHERE existing_dup),
                    count(*) FILTER (WHERE internal_dup AND existing_dup) FROM codes_check_temp('{}')",
            run.job
        ))
        .await;
    let wanted = [
        expected.staged,
        expected.internal_duplicates,
        expected.database_duplicates,
        expected.both_duplicates,
    ];
    assert_eq!(flags[0], wanted.map(|n| Some(n.to_string())), "what an operator reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_batch_counts_as_it_was_made() {
    let bench = Bench::new().await;
    let scratch = Scratch::new();
    let plan = mixed(&bench, 12_000, 9);
    let expected = stage_batch(&bench, &plan, &scratch).await;
    let key = bench.stage_key(&format!("b/{MANIFEST}"));
    let version = bench.s3.put_file(&key, &scratch.0.join(MANIFEST));
    let mut run = Run::of_upload(&bench.app, &key, &version);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(
        bench.codes().await,
        i64::try_from(plan.production).unwrap(),
        "nothing enters before the approval"
    );
    assert_eq!(bench.outbox(run.job).await, ["state_changed"], "the wait is announced");
    run.approve(&bench.actor).await;
    run.until(State::Done).await.expect(State::Done);

    assert_counts(&bench, &run, &expected).await;
    let off = "SELECT count(*) FROM ((TABLE after EXCEPT SELECT code FROM codes) UNION ALL (SELECT code FROM codes EXCEPT TABLE after)) x";
    assert_eq!(bench.db.int(off).await, 0, "exactly the codes that the generator says");
    let job = bench.job(run.job).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["verification"]["verified"], true);
    assert_eq!(job["merchant_total"], json!(plan.production + expected.clean));
    assert_eq!(job["leased"], false);
    assert_eq!(job["error_message"], json!(null));
    assert_eq!(
        bench.outbox(run.job).await,
        ["state_changed", "task_success", "state_changed", "start_maintenance", "start_maintenance"],
        "duplicates and rejects are exported by themselves"
    );

    // The same batch again brings nothing, and says so.
    let again = bench.s3.put_file(&key, &scratch.0.join(MANIFEST));
    let mut run = Run::of_upload(&bench.app, &key, &again);
    run.until(State::Done).await.expect(State::Done);
    assert_counts(&bench, &run, &expected.imported_again()).await;
    let job = bench.job(run.job).await;
    assert_eq!((&job["status"], &job["codes_inserted"]), (&json!("completed"), &json!(0)));
    assert!(job["error_message"].as_str().unwrap().starts_with("No clean codes to insert"), "{job}");
    assert_eq!(job["approved_at"], json!(null), "nobody is asked about nothing");
    assert_eq!(bench.db.int(off).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_twice_is_every_step_once() {
    let bench = Bench::new().await;
    let scratch = Scratch::new();
    let plan = mixed(&bench, 2_000, 3);
    let expected = stage_batch(&bench, &plan, &scratch).await;
    let mut run =
        Run::new(&bench.app, json!({ "merchant_id": bench.merchant, "prefix": bench.stage_key("b/") }));

    let once = run.open_output().await.unwrap();
    assert_eq!(once, run.open_output().await.unwrap());
    run.open().await.unwrap();
    for file in &run.files {
        assert_eq!(run.load(*file).await.unwrap(), run.load(*file).await.unwrap());
    }
    run.plan().await.unwrap();
    let chunks = run.chunks.clone();
    run.plan().await.unwrap();
    assert_eq!(chunks, run.chunks);
    for chunk in &run.chunks {
        assert_eq!(run.mark(*chunk).await.unwrap(), run.mark(*chunk).await.unwrap());
    }
    let once = run.validate().await.unwrap();
    assert_eq!(once, run.validate().await.unwrap());
    assert_eq!(once["total_clean_codes"], json!(expected.clean));
    assert_eq!(run.await_approval().await.unwrap(), run.await_approval().await.unwrap());
    run.clean = i64::try_from(expected.clean).unwrap();
    run.approve(&bench.actor).await;
    run.approve(&bench.actor).await;
    let once = run.insert().await.unwrap();
    assert_eq!(once, run.insert().await.unwrap());
    assert_eq!(once.message, format!("Successfully inserted {} clean codes to production", expected.clean));
    let once = run.verify().await.unwrap();
    assert_eq!(once, run.verify().await.unwrap());
    assert_eq!(once["verified"], true, "{once}");
    assert_eq!(run.close(None).await.unwrap(), run.close(None).await.unwrap());
    assert_counts(&bench, &run, &expected).await;
    assert_eq!(bench.codes().await, i64::try_from(plan.production + expected.clean).unwrap());
    // Waited twice, approved twice: said twice. Ended once.
    let messages = bench.outbox(run.job).await;
    assert_eq!(
        messages[..5],
        ["state_changed", "state_changed", "task_success", "task_success", "state_changed"]
    );
    assert_eq!(messages[5..], ["start_maintenance", "start_maintenance"], "duplicates and rejects");
    // And a step that comes after the end changes nothing.
    for late in [run.load(1).await.err(), run.mark(0).await.err(), run.validate().await.err()] {
        assert!(late.is_some());
    }
    assert_eq!(bench.status(run.job).await, "completed");
}

/// A file so large that staging has several buckets, with codes that lie in all of them.
#[tokio::test(flavor = "multi_thread")]
async fn several_buckets_share_a_file() {
    use std::fmt::Write;
    let bench = Bench::new().await;
    let filler = "x".repeat(2000);
    let mut text = String::from("code,filler\n");
    for i in 0..20_000u64 {
        // Every third code comes twice, far apart.
        let n = if i >= 15_000 { (i - 15_000) * 3 } else { i };
        let _ = writeln!(text, "{:08x}-{n},{filler}", (n * 2_654_435_761) & 0xffff_ffff);
    }
    bench.add_codes(&["00000000-0"]).await;
    let mut run = bench.file("wide.csv", text);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let points: i64 = bench
        .db
        .int(&format!("SELECT cardinality(split_points) FROM codes_import_jobs WHERE id = '{}'", run.job))
        .await;
    assert_eq!(points, 2, "40 MB are three buckets");
    let ended = run.finish(&bench.actor).await;
    ended.expect(State::Done);
    assert_eq!(run.chunks.len(), 3);
    let job = bench.job(run.job).await;
    assert_eq!(job["internal_duplicates"], 5_000);
    assert_eq!(job["database_duplicates"], 2);
    assert_eq!(job["both_duplicates"], 1);
    assert_eq!(job["codes_inserted"], 14_999);
    let used = bench
        .db
        .column(&format!("SELECT staged > 1000 FROM import_chunks WHERE job_id = '{}'", run.job))
        .await;
    assert_eq!(used, ["t", "t", "t"]);
}

/// One step, three times at once, each with connections of its own. Who is not first may be told to come again.
async fn beside_ghosts<T, F, Fut>(bench: &Bench, run: &Run, step: F) -> Run
where
    T: std::fmt::Debug + PartialEq,
    F: Fn(Run) -> Fut,
    Fut: Future<Output = (Run, StepResult<T>)>,
{
    let ghosts = (0..3).map(|_| step(Run { app: app(&bench.db, &bench.s3), ..run.clone() }));
    let (mut first, mut done): (Option<T>, Option<Run>) = (None, None);
    for (run, outcome) in join_all(ghosts).await {
        match outcome {
            Ok(output) => {
                assert_eq!(first.as_ref().unwrap_or(&output), &output, "ghosts see the same");
                (first, done) = (Some(output), Some(run));
            }
            Err(error) => assert_eq!(error.kind, StepErrorKind::Transient, "{error}"),
        }
    }
    done.expect("one of them gets through")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_beside_its_ghosts() {
    let bench = Bench::new().await;
    let scratch = Scratch::new();
    let plan = mixed(&bench, 3_000, 2);
    let expected = stage_batch(&bench, &plan, &scratch).await;
    let run = Run::new(&bench.app, json!({ "merchant_id": bench.merchant, "prefix": bench.stage_key("b/") }));
    let mut run = beside_ghosts(&bench, &run, |mut run| async move {
        let opened = run.open().await;
        (run, opened)
    })
    .await;
    for file in run.files.clone() {
        run = beside_ghosts(&bench, &run, |run| async move {
            let loaded = run.load(file).await;
            (run, loaded)
        })
        .await;
    }
    run = beside_ghosts(&bench, &run, |mut run| async move {
        let planned = run.plan().await.map(|()| run.chunks.clone());
        (run, planned)
    })
    .await;
    for chunk in run.chunks.clone() {
        run = beside_ghosts(&bench, &run, |run| async move {
            let marked = run.mark(chunk).await;
            (run, marked)
        })
        .await;
    }
    run = beside_ghosts(&bench, &run, |run| async move {
        let validated = run.validate().await;
        (run, validated)
    })
    .await;
    run = beside_ghosts(&bench, &run, |run| async move {
        let waits = run.await_approval().await;
        (run, waits)
    })
    .await;
    run.clean = i64::try_from(expected.clean).unwrap();
    run.approve(&bench.actor).await;
    run = beside_ghosts(&bench, &run, |run| async move {
        let inserted = run.insert().await;
        (run, inserted)
    })
    .await;
    run = beside_ghosts(&bench, &run, |run| async move {
        let verified = run.verify().await;
        (run, verified)
    })
    .await;
    run = beside_ghosts(&bench, &run, |run| async move {
        let closed = run.close(None).await;
        (run, closed)
    })
    .await;
    assert_counts(&bench, &run, &expected).await;
    assert_eq!(bench.status(run.job).await, "completed");
    assert_eq!(bench.codes().await, i64::try_from(plan.production + expected.clean).unwrap());
}
