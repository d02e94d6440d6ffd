//! How imports come in: events twice and out of order, the same source twice, several imports of one merchant.

use futures_util::future::join_all;
use onceload_tests::fixture::{add_member, add_merchant, app};
use onceload_tests::{Bench, Run, State};
use serde_json::json;
use shared::domain::step::StepErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_twice_is_one_import() {
    let bench = Bench::new().await;
    let key = bench.import_key("a.csv");
    let version = bench.s3.put(&key, "code\nA\nB\n");
    // Both at once, on connections of their own.
    let runs = [0, 1].map(|_| Run::of_upload(&app(&bench.db, &bench.s3), &key, &version));
    let opened = runs.map(|mut run| async move {
        run.at = run.open().await.unwrap();
        run
    });
    let mut runs = join_all(opened).await;
    assert_eq!(runs[0].job, runs[1].job);
    let mut at: Vec<String> = runs.iter().map(|run| format!("{:?}", run.at)).collect();
    at.sort();
    assert_eq!(at, ["LoadFiles", "NothingToDo"]);
    for run in &mut runs {
        if run.at == State::LoadFiles {
            run.finish(&bench.actor).await.expect(State::Done);
        }
    }
    // And once more when all is over.
    let mut late = Run::of_upload(&bench.app, &key, &version);
    late.until(State::Done).await.expect(State::NothingToDo);
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 1);
    assert_eq!(bench.codes().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_out_of_order_import_each_its_version() {
    let bench = Bench::new().await;
    let key = bench.import_key("a.csv");
    let first = bench.s3.put(&key, "code\nFIRST\n");
    let second = bench.s3.put(&key, "code\nSECOND\n");
    for version in [second, first] {
        let mut run = Run::of_upload(&bench.app, &key, &version);
        run.finish(&bench.actor).await.expect(State::Done);
    }
    assert_eq!(bench.db.column("SELECT code FROM codes ORDER BY created_at").await, ["SECOND", "FIRST"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_task_that_is_repeated_is_one_job() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "code\nA\n");
    let run = bench.request(&[&key]);
    let ghosts = (0..6).map(|_| {
        let mut run = Run { app: app(&bench.db, &bench.s3), ..run.clone() };
        async move { run.open().await.map(|state| (state, run.job)) }
    });
    let mut jobs = Vec::new();
    for opened in join_all(ghosts).await {
        let (state, job) = opened.unwrap();
        assert_eq!(state, State::LoadFiles);
        jobs.push(job);
    }
    jobs.dedup();
    assert_eq!(jobs.len(), 1);
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_source_is_imported_by_one_job_at_a_time() {
    let bench = Bench::new().await;
    let (a, b) = (bench.stage("a.csv", "code\nA\n"), bench.stage("b.csv", "code\nB\n"));
    let mut first = bench.request(&[&a, &b]);
    first.until(State::InsertCodes).await.expect(State::InsertCodes);
    // Another order is the same source.
    let mut second = bench.request(&[&b, &a]);
    let error = second.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::ImportInProgress);
    assert!(error.message.contains(&first.job.to_string()), "{error}");
    // Another mapping is another source.
    let mut third = Run::new(
        &bench.app,
        json!({ "merchant_id": bench.merchant, "files": [a, b], "mapping": { "code": "CODE" } }),
    );
    third.until(State::LoadFiles).await.expect(State::LoadFiles);
    third.cancel(&bench.actor).await;
    third.close_caught("Cancelled", "").await.unwrap();
    first.approve(&bench.actor).await;
    first.until(State::Done).await.expect(State::Done);
    // It is over: the same source may be imported again.
    let mut again = bench.request(&[&a, &b]);
    again.until(State::Done).await.expect(State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_of_one_merchant_go_in_order_of_arrival() {
    let bench = Bench::new().await;
    let mut runs: Vec<Run> =
        (0..3).map(|i| bench.file(&format!("{i}.csv"), format!("code\nC{i}\nSAME\n"))).collect();
    runs[0].until(State::LoadFiles).await.expect(State::LoadFiles);
    for run in &mut runs[1..] {
        run.until(State::LoadFiles).await.expect(State::WaitForMerchant);
        let job = bench.job(run.job).await;
        assert_eq!((&job["status"], &job["phase"]), (&json!("pending"), &json!("waiting_for_merchant")));
    }
    // Another merchant is not held up.
    let other = add_merchant(&bench.db, "Other").await;
    let key = format!("stage/{other}/x.csv");
    bench.s3.put(&key, "code\nX\n");
    let mut elsewhere = Run::new(&bench.app, json!({ "merchant_id": other, "files": [key] }));
    elsewhere.finish(&add_member(&bench.db, other).await).await.expect(State::Done);

    // The lease is free while the first waits for its approval; the last to come asks first and still waits.
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    runs[2].at = State::Open;
    runs[2].until(State::LoadFiles).await.expect(State::WaitForMerchant);
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::LoadFiles);
    // While the second works, the first can't be approved: it is said who works.
    let busy = runs[0].decide_approval(&bench.actor, 2, false).await;
    assert_eq!(busy, shared::db::decisions::Decision::MerchantBusy { by: Some(runs[1].job) });
    assert_eq!(bench.status(runs[0].job).await, "awaiting_approval");
    runs[1].until(State::InsertCodes).await.expect(State::InsertCodes);
    for i in [0, 1] {
        runs[i].finish(&bench.actor).await.expect(State::Done);
    }
    runs[2].at = State::Open;
    runs[2].finish(&bench.actor).await.expect(State::Done);
    let mut codes =
        bench.db.column(&format!("SELECT code FROM codes WHERE merchant_id = '{}'", bench.merchant)).await;
    codes.sort();
    assert_eq!(codes, ["C0", "C1", "C2", "SAME"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_a_day_is_told_so() {
    let bench = Bench::new().await;
    let mut first = bench.file("a.csv", "code\nA\n");
    first.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut second = bench.file("b.csv", "code\nB\n");
    second.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    bench
        .db
        .exec(&format!(
            "UPDATE codes_import_jobs SET created_at = now() - interval '25 hours' WHERE id = '{}'",
            second.job
        ))
        .await;
    second.at = State::Open;
    assert_eq!(second.until(State::LoadFiles).await.error().kind, StepErrorKind::ImportInProgress);
    assert_eq!(bench.status(second.job).await, "failed");
}

/// Who came earlier but is gone does not hold up those who came later.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_whose_execution_died_is_passed_by() {
    let bench = Bench::new().await;
    let mut first = bench.file("a.csv", "code\nA\n");
    first.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut dead = bench.file("b.csv", "code\nB\n");
    dead.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    let mut third = bench.file("c.csv", "code\nC\n");
    third.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    first.finish(&bench.actor).await.expect(State::Done);
    bench
        .db
        .exec(&format!(
            "UPDATE codes_import_jobs SET heartbeat_at = now() - interval '6 minutes' WHERE id = '{}'",
            dead.job
        ))
        .await;
    third.at = State::Open;
    third.finish(&bench.actor).await.expect(State::Done);
}
