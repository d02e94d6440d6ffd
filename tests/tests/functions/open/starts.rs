//! Starting imports: duplicate and late events, and repeated sources.

use futures_util::future::join_all;
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
