//! Functions and backends that are killed in the middle of a transaction: the repeated step has its effect once.

use crate::process::Process;
use onceload_tests::files::noise;
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::domain::status::Status;
use shared::domain::step::StepErrorKind;
use shared::lambda::Budget;
use std::time::Duration;

async fn assert_imported_once(world: &World, run: &mut Run, rows: i64) {
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    for column in ["records", "staged", "codes_inserted"] {
        assert_eq!(job[column], json!(rows), "{column}");
    }
    assert_eq!(job["verification"]["verified"], true);
    assert_eq!(world.count_codes().await, rows);
    assert_eq!(job["restage_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_killed_during_its_copy_is_repeated() {
    let world = World::new().await;
    let text = noise(300_000);
    let mut run = world.import_file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let input = json!({ "job_id": run.job, "attempt": run.attempt, "file_no": 1 });
    for share in [3, 2] {
        // S3 sends a third, then half of the object, and no more.
        let gate = world.s3.gate(&world.key_under_stage("a.csv"), text.len() as u64 / share);
        let mut process = Process::start(&world, "load-staging", &input);
        world
            .db
            .until(
                "rows are copied",
                "SELECT count(*) > 0 FROM onceload.import_progress WHERE step = 'load' AND rows_done > 50000",
            )
            .await;
        process.kill();
        drop(gate);
        assert_eq!(world.count_staged(run.job).await, 0);
        assert_eq!(world.db.column("SELECT status FROM onceload.import_files").await, ["pending"]);
        world.db.exec("DELETE FROM onceload.import_progress").await;
    }
    world.s3.inject_fault(&world.key_under_stage("a.csv"), Default::default());
    world.db.wait_for_end("load.file").await;
    assert_imported_once(&world, &mut run, 300_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_killed_in_its_transaction_is_repeated() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", noise(300_000)).await;
    run.approve(&world.actor).await;
    let input = json!({ "job_id": run.job, "attempt": run.attempt });
    for _ in 0..2 {
        let mut process = Process::start(&world, "insert-codes", &input);
        world.db.wait_for_running("staging.insert").await;
        process.kill();
        // The server usually notices at the end of the statement that its client is gone.
        world.db.wait_for_end("insert").await;
        assert_eq!(world.count_codes().await, 0, "all or nothing");
        assert_eq!(world.read_status(run.job).await, "processing");
    }
    let inserted = run.insert().await.unwrap();
    assert_eq!(inserted.codes_inserted, 300_000);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 300_000);
    assert_eq!(world.read_job(run.job).await["verification"]["verified"], true);
}

/// Terminates the backend that works in a transaction of this name, once there is one.
async fn terminate(world: &World, transaction: &str) {
    let terminate = format!(
        "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'onceload {transaction}'"
    );
    world.db.until("a backend to terminate", &terminate).await;
}

/// The terminated step fails as transient. Run again, as the state machine's Retry does, it succeeds at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_backend_is_terminated_is_transient_and_repeatable() {
    let world = World::new().await;
    let text = noise(100_000);
    let mut run = world.import_file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let gate = world.s3.gate(&world.key_under_stage("a.csv"), text.len() as u64 / 2);
    let load = {
        let run = run.clone();
        tokio::spawn(async move { run.load(1).await })
    };
    world
        .db
        .until("rows are copied", "SELECT count(*) > 0 FROM onceload.import_progress WHERE rows_done > 0")
        .await;
    terminate(&world, "load.file").await;
    gate.send(true).unwrap();
    let error = load.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    // A pooler tells its client before the backend has rolled back.
    world.db.wait_for_end("load.file").await;
    assert_eq!(run.load(1).await.unwrap().counts.staged, 100_000);
}

/// The terminated step fails as transient. Run again, as the state machine's Retry does, it succeeds at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_whose_backend_is_terminated_is_transient_and_repeatable() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\nC\n").await;
    run.approve(&world.actor).await;
    let held = world.hold_code("B").await;
    let insert = {
        let run = run.clone();
        tokio::spawn(async move { run.insert().await })
    };
    world.db.wait_for_blocked("staging.insert").await;
    terminate(&world, "insert").await;
    let error = insert.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    held.release().await;
    // A pooler tells its client before the backend has rolled back.
    world.db.wait_for_end("insert").await;
    assert_eq!(world.count_codes().await, 0);
    assert_eq!(run.insert().await.unwrap().codes_inserted, 3);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 3);
}

/// The function's remaining time bounds its statements. An insert that takes longer is rolled back and not retried.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_runs_out_of_time_is_not_transient() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nB\nC\n").await;
    run.approve(&world.actor).await;
    let held = world.hold_code("B").await;
    let input = insert_codes::Input { job_id: run.job, attempt: run.attempt };
    let a_second = Budget::of(Duration::from_secs(1));
    let error = insert_codes::handle(world.app.clone(), input, a_second).await.expect_err("out of time");
    assert_eq!(error.kind, StepErrorKind::TimeBudgetExceeded, "{error}");
    assert!(error.message.contains("split the import"), "{error}");
    held.release().await;
    assert_eq!(world.count_codes().await, 0);
    assert_eq!(run.close_stopped(&error).await.expect("close"), Some(Status::Failed));
}
