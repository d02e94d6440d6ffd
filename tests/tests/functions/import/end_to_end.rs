//! Whole imports: the counts equal those of the generator, and repeated or concurrent steps have their effect once.

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::join_all;
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::domain::step::{StepErrorKind, StepResult};
use std::path::PathBuf;
use std::pin::pin;
use xtask::generate::{Codes, Compression, Expected, LayoutKind, MANIFEST, Plan, copy_lines, generate};

/// A temporary directory; dropping the value removes it.
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

fn mixed_plan(world: &World, rows: u64, files: u64) -> Plan {
    Plan {
        seed: 7,
        merchant_id: world.merchant.to_string(),
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

/// Copies the generator's codes with these indexes into a table of one column.
async fn copy_codes(world: &World, plan: &Plan, table: &str, indexes: std::ops::Range<u64>) {
    let mut lines = Vec::new();
    copy_lines(&Codes::new(plan.seed, true), indexes, &mut lines).unwrap();
    let mut client = world.db.connect().await;
    let tx = client.transaction().await.unwrap();
    {
        let mut sink =
            pin!(tx.copy_in::<_, Bytes>(&format!("COPY {table} (code) FROM STDIN")).await.unwrap());
        sink.send(lines.into()).await.unwrap();
        sink.finish().await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Generates the batch, uploads it under `stage/`, fills production and returns the expected counts.
async fn stage_batch(world: &World, plan: &Plan, scratch: &Scratch) -> Expected {
    let expected = generate(plan, &scratch.0).unwrap();
    for file in &expected.files {
        world.s3.put_file(&world.key_under_stage(&format!("b/{}", file.name)), &scratch.0.join(&file.name));
    }
    world
        .db
        .exec("CREATE TABLE onceload.before (code text COLLATE \"C\"); CREATE TABLE onceload.after (code text COLLATE \"C\")")
        .await;
    copy_codes(world, plan, "onceload.before", 0..plan.production).await;
    // The files' new codes have the indexes after production's.
    copy_codes(world, plan, "onceload.after", 0..plan.production + expected.clean).await;
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.codes (merchant_id, code) SELECT '{}', code FROM onceload.before",
            world.merchant
        ))
        .await;
    expected
}

async fn assert_counts(world: &World, run: &Run, expected: &Expected) {
    let job = world.read_job(run.job).await;
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
    let reasons = world
        .db
        .column(&format!(
            "SELECT reason || ' ' || count(*) FROM onceload.import_rejects WHERE job_id = '{}' GROUP BY reason ORDER BY reason",
            run.job
        ))
        .await;
    let wanted: Vec<String> =
        expected.rejects_by_reason.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    assert_eq!(reasons, wanted);
    let files = world
        .db
        .column(&format!(
            "SELECT concat_ws(' ', split_part(key, '/', 4), records, staged, rejected, skipped)
               FROM onceload.import_files WHERE job_id = '{}' ORDER BY file_no",
            run.job
        ))
        .await;
    let wanted: Vec<String> = expected
        .files
        .iter()
        .map(|f| format!("{} {} {} {} {}", f.name, f.records, f.staged, f.rejected, f.skipped))
        .collect();
    assert_eq!(files, wanted);
    let flags = world
        .db
        .rows(&format!(
            "SELECT count(*), count(*) FILTER (WHERE internal_dup), count(*) FILTER (WHERE existing_dup),
                    count(*) FILTER (WHERE internal_dup AND existing_dup) FROM onceload.codes_check_temp('{}')",
            run.job
        ))
        .await;
    let wanted = [
        expected.staged,
        expected.internal_duplicates,
        expected.database_duplicates,
        expected.both_duplicates,
    ];
    assert_eq!(flags[0], wanted.map(|n| n.to_string()), "the flags that an operator reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_batch_yields_the_generators_counts() {
    let world = World::new().await;
    let scratch = Scratch::new();
    let plan = mixed_plan(&world, 12_000, 9);
    let expected = stage_batch(&world, &plan, &scratch).await;
    let key = world.key_under_stage(&format!("b/{MANIFEST}"));
    let version = world.s3.put_file(&key, &scratch.0.join(MANIFEST));
    let mut run = Run::of_upload(&world.app, &key, &version);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(
        world.count_codes().await,
        i64::try_from(plan.production).unwrap(),
        "nothing is inserted before the approval"
    );
    assert_eq!(world.read_outbox(run.job).await, ["state_changed"], "the wait is announced");
    run.approve(&world.actor).await;
    run.until(State::Done).await.expect(State::Done);

    assert_counts(&world, &run, &expected).await;
    let off = "SELECT count(*) FROM ((TABLE onceload.after EXCEPT SELECT code COLLATE \"C\" FROM onceload.codes) UNION ALL (SELECT code COLLATE \"C\" FROM onceload.codes EXCEPT TABLE onceload.after)) x";
    assert_eq!(world.db.int(off).await, 0, "exactly the generator's codes");
    let job = world.read_job(run.job).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["verification"]["verified"], true);
    assert_eq!(job["merchant_total"], json!(plan.production + expected.clean));
    assert_eq!(job["leased"], false);
    assert_eq!(job["error_message"], json!(null));
    assert_eq!(
        world.read_outbox(run.job).await,
        ["state_changed", "task_success", "state_changed", "start_maintenance", "start_maintenance"],
        "duplicates and rejects are exported without a request"
    );

    // Imported again, the batch inserts nothing and says so.
    let again = world.s3.put_file(&key, &scratch.0.join(MANIFEST));
    let mut run = Run::of_upload(&world.app, &key, &again);
    run.until(State::Done).await.expect(State::Done);
    assert_counts(&world, &run, &expected.imported_again()).await;
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["codes_inserted"]), (&json!("completed"), &json!(0)));
    assert!(job["error_message"].as_str().unwrap().starts_with("No clean codes to insert"), "{job}");
    assert_eq!(job["approved_at"], json!(null), "no approval is requested for nothing");
    assert_eq!(world.db.int(off).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_run_twice_has_the_effect_of_once() {
    let world = World::new().await;
    let scratch = Scratch::new();
    let plan = mixed_plan(&world, 2_000, 3);
    let expected = stage_batch(&world, &plan, &scratch).await;
    let mut run =
        Run::new(&world.app, json!({ "merchant_id": world.merchant, "prefix": world.key_under_stage("b/") }));

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
    run.approve(&world.actor).await;
    run.approve(&world.actor).await;
    let once = run.insert().await.unwrap();
    assert_eq!(once, run.insert().await.unwrap());
    assert_eq!(once.message, format!("Successfully inserted {} clean codes to production", expected.clean));
    let once = run.verify().await.unwrap();
    assert_eq!(once, run.verify().await.unwrap());
    assert_eq!(once["verified"], true, "{once}");
    assert_eq!(run.close(None).await.unwrap(), run.close(None).await.unwrap());
    assert_counts(&world, &run, &expected).await;
    assert_eq!(world.count_codes().await, i64::try_from(plan.production + expected.clean).unwrap());
    // The wait and the approval ran twice and are announced twice; the end is announced once.
    let messages = world.read_outbox(run.job).await;
    assert_eq!(
        messages[..5],
        ["state_changed", "state_changed", "task_success", "task_success", "state_changed"]
    );
    assert_eq!(messages[5..], ["start_maintenance", "start_maintenance"], "duplicates and rejects");
    // A step that runs after the end changes nothing.
    for late in [run.load(1).await.err(), run.mark(0).await.err(), run.validate().await.err()] {
        assert!(late.is_some());
    }
    assert_eq!(world.read_status(run.job).await, "completed");
}

/// Staging has several buckets, and the file has codes of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_staged_in_several_buckets() {
    use std::fmt::Write;
    let world = World::new().await;
    let filler = "x".repeat(2000);
    let mut text = String::from("code,filler\n");
    for i in 0..20_000u64 {
        // Every third code occurs twice, far apart.
        let n = if i >= 15_000 { (i - 15_000) * 3 } else { i };
        let _ = writeln!(text, "{:08x}-{n},{filler}", (n * 2_654_435_761) & 0xffff_ffff);
    }
    world.add_codes(&["00000000-0"]).await;
    let mut run = world.import_file("wide.csv", text);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let points: i64 = world
        .db
        .int(&format!(
            "SELECT cardinality(split_points) FROM onceload.codes_import_jobs WHERE id = '{}'",
            run.job
        ))
        .await;
    assert_eq!(points, 2, "40 MB are three buckets");
    let ended = run.finish(&world.actor).await;
    ended.expect(State::Done);
    assert_eq!(run.chunks.len(), 3);
    let job = world.read_job(run.job).await;
    assert_eq!(job["internal_duplicates"], 5_000);
    assert_eq!(job["database_duplicates"], 2);
    assert_eq!(job["both_duplicates"], 1);
    assert_eq!(job["codes_inserted"], 14_999);
    let used = world
        .db
        .column(&format!("SELECT staged > 1000 FROM onceload.import_chunks WHERE job_id = '{}'", run.job))
        .await;
    assert_eq!(used, ["t", "t", "t"]);
}

/// Runs one step three times at once, each on connections of its own. Those that are not first may be transient errors.
async fn run_three_times_at_once<T, F, Fut>(world: &World, run: &Run, step: F) -> Run
where
    T: std::fmt::Debug + PartialEq,
    F: Fn(Run) -> Fut,
    Fut: Future<Output = (Run, StepResult<T>)>,
{
    let ghosts = (0..3).map(|_| step(run.with_own_connections(world)));
    let (mut first, mut done): (Option<T>, Option<Run>) = (None, None);
    for (run, outcome) in join_all(ghosts).await {
        match outcome {
            Ok(output) => {
                assert_eq!(first.as_ref().unwrap_or(&output), &output, "concurrent runs return the same");
                (first, done) = (Some(output), Some(run));
            }
            Err(error) => assert_eq!(error.kind, StepErrorKind::Transient, "{error}"),
        }
    }
    done.expect("one of them gets through")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_run_three_times_at_once_has_the_effect_of_once() {
    let world = World::new().await;
    let scratch = Scratch::new();
    let plan = mixed_plan(&world, 3_000, 2);
    let expected = stage_batch(&world, &plan, &scratch).await;
    let run =
        Run::new(&world.app, json!({ "merchant_id": world.merchant, "prefix": world.key_under_stage("b/") }));
    let mut run = run_three_times_at_once(&world, &run, |mut run| async move {
        let opened = run.open().await;
        (run, opened)
    })
    .await;
    for file in run.files.clone() {
        run = run_three_times_at_once(&world, &run, |run| async move {
            let loaded = run.load(file).await;
            (run, loaded)
        })
        .await;
    }
    run = run_three_times_at_once(&world, &run, |mut run| async move {
        let planned = run.plan().await.map(|()| run.chunks.clone());
        (run, planned)
    })
    .await;
    for chunk in run.chunks.clone() {
        run = run_three_times_at_once(&world, &run, |run| async move {
            let marked = run.mark(chunk).await;
            (run, marked)
        })
        .await;
    }
    run = run_three_times_at_once(&world, &run, |run| async move {
        let validated = run.validate().await;
        (run, validated)
    })
    .await;
    run = run_three_times_at_once(&world, &run, |run| async move {
        let waits = run.await_approval().await;
        (run, waits)
    })
    .await;
    run.clean = i64::try_from(expected.clean).unwrap();
    run.approve(&world.actor).await;
    run = run_three_times_at_once(&world, &run, |run| async move {
        let inserted = run.insert().await;
        (run, inserted)
    })
    .await;
    run = run_three_times_at_once(&world, &run, |run| async move {
        let verified = run.verify().await;
        (run, verified)
    })
    .await;
    run = run_three_times_at_once(&world, &run, |run| async move {
        let closed = run.close(None).await;
        (run, closed)
    })
    .await;
    assert_counts(&world, &run, &expected).await;
    assert_eq!(world.read_status(run.job).await, "completed");
    assert_eq!(world.count_codes().await, i64::try_from(plan.production + expected.clean).unwrap());
}
