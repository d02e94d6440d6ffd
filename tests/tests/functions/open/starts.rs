//! Starting imports: duplicate and late events, repeated sources, and the merchant's queue.

use futures_util::future::join_all;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_delivered_twice_starts_one_import() {
    let world = World::new().await;
    let key = world.key_under_import("a.csv");
    let version = world.s3.put(&key, "code\nA\nB\n");
    // Both executions open the import at once.
    let runs = [0, 1].map(|_| Run::of_upload(&world.app_with_pool(2), &key, &version));
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
            run.finish(&world.actor).await.expect(State::Done);
        }
    }
    // The event is delivered again after the import has ended.
    let mut late = Run::of_upload(&world.app, &key, &version);
    late.until(State::Done).await.expect(State::NothingToDo);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 1);
    assert_eq!(world.count_codes().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_out_of_order_each_import_their_own_object_version() {
    let world = World::new().await;
    let key = world.key_under_import("a.csv");
    let first = world.s3.put(&key, "code\nFIRST\n");
    let second = world.s3.put(&key, "code\nSECOND\n");
    for version in [second, first] {
        let mut run = Run::of_upload(&world.app, &key, &version);
        run.finish(&world.actor).await.expect(State::Done);
    }
    assert_eq!(
        world.db.column("SELECT code FROM onceload.codes ORDER BY created_at").await,
        ["SECOND", "FIRST"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_open_step_creates_one_job() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let run = world.import_objects(&[&key]);
    let ghosts = (0..6).map(|_| {
        let mut run = run.with_own_connections(&world);
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
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_is_imported_by_one_job_at_a_time() {
    let world = World::new().await;
    let (a, b) = (world.upload("a.csv", "code\nA\n"), world.upload("b.csv", "code\nB\n"));
    let mut first = world.import_objects(&[&a, &b]);
    first.until(State::InsertCodes).await.expect(State::InsertCodes);
    // The order of the files does not make another source.
    let mut second = world.import_objects(&[&b, &a]);
    let error = second.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::ImportInProgress);
    assert!(error.message.contains(&first.job.to_string()), "{error}");
    // Another mapping makes another source.
    let mut third = Run::new(
        &world.app,
        json!({ "merchant_id": world.merchant, "files": [a, b], "mapping": { "code": "CODE" } }),
    );
    third.until(State::LoadFiles).await.expect(State::LoadFiles);
    third.cancel(&world.actor).await;
    third.close_caught("Cancelled", "").await.unwrap();
    first.approve(&world.actor).await;
    first.until(State::Done).await.expect(State::Done);
    // The import has ended, so its source may be imported again.
    let mut again = world.import_objects(&[&a, &b]);
    again.until(State::Done).await.expect(State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_of_one_merchant_run_in_order_of_arrival() {
    let world = World::new().await;
    let mut runs: Vec<Run> =
        (0..3).map(|i| world.import_file(&format!("{i}.csv"), format!("code\nC{i}\nSAME\n"))).collect();
    runs[0].until(State::LoadFiles).await.expect(State::LoadFiles);
    for run in &mut runs[1..] {
        run.until(State::LoadFiles).await.expect(State::WaitForMerchant);
        let job = world.read_job(run.job).await;
        assert_eq!((&job["status"], &job["phase"]), (&json!("pending"), &json!("waiting_for_merchant")));
    }
    // Another merchant does not wait.
    let other = add_merchant(&world.db, "Other").await;
    let key = format!("stage/{other}/x.csv");
    world.s3.put(&key, "code\nX\n");
    let mut elsewhere = Run::new(&world.app, json!({ "merchant_id": other, "files": [key] }));
    elsewhere.finish(&add_member(&world.db, other).await).await.expect(State::Done);

    // While the first waits for approval the lease is free. The third asks before the second and still waits.
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    runs[2].at = State::Open;
    runs[2].until(State::LoadFiles).await.expect(State::WaitForMerchant);
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::LoadFiles);
    // While the second works, the first can't be approved, and the refusal names the second.
    let busy = runs[0].decide_approval(&world.actor, 2, false).await;
    assert_eq!(busy, import_jobs::decide::Decision::MerchantBusy { by: Some(runs[1].job) });
    assert_eq!(world.read_status(runs[0].job).await, "awaiting_approval");
    runs[1].until(State::InsertCodes).await.expect(State::InsertCodes);
    for i in [0, 1] {
        runs[i].finish(&world.actor).await.expect(State::Done);
    }
    runs[2].at = State::Open;
    runs[2].finish(&world.actor).await.expect(State::Done);
    let mut codes = world
        .db
        .column(&format!("SELECT code FROM onceload.codes WHERE merchant_id = '{}'", world.merchant))
        .await;
    codes.sort();
    assert_eq!(codes, ["C0", "C1", "C2", "SAME"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_waited_a_day_for_its_merchant_fails() {
    let world = World::new().await;
    let mut first = world.import_file("a.csv", "code\nA\n");
    first.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut second = world.import_file("b.csv", "code\nB\n");
    second.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    world
        .db
        .exec(&format!(
            "UPDATE onceload.codes_import_jobs SET created_at = now() - interval '25 hours' WHERE id = '{}'",
            second.job
        ))
        .await;
    second.at = State::Open;
    assert_eq!(second.until(State::LoadFiles).await.error().kind, StepErrorKind::ImportInProgress);
    assert_eq!(world.read_status(second.job).await, "failed");
}

/// A queued job whose execution has died does not delay later jobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_queued_job_whose_execution_died_does_not_block_the_queue() {
    let world = World::new().await;
    let mut first = world.import_file("a.csv", "code\nA\n");
    first.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut dead = world.import_file("b.csv", "code\nB\n");
    dead.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    let mut third = world.import_file("c.csv", "code\nC\n");
    third.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    first.finish(&world.actor).await.expect(State::Done);
    world
        .db
        .exec(&format!(
            "UPDATE onceload.codes_import_jobs SET heartbeat_at = now() - interval '6 minutes' WHERE id = '{}'",
            dead.job
        ))
        .await;
    third.at = State::Open;
    third.finish(&world.actor).await.expect(State::Done);
}
