//! The sweep ends abandoned waits and retries, drops old staging and delivers messages.

use onceload_tests::execution::budget;
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::domain::step::StepResult;

async fn sweep(world: &World) -> StepResult<sweep_imports::Output> {
    sweep_imports::handle(world.app.clone(), json!({}), budget()).await
}

/// Moves all times of a job into the past.
async fn age(world: &World, run: &Run, interval: &str) {
    world
        .db
        .exec(&format!(
            "UPDATE onceload.codes_import_jobs SET updated_at = updated_at - interval '{interval}', heartbeat_at = heartbeat_at - interval '{interval}',
                    awaiting_since = awaiting_since - interval '{interval}', finished_at = finished_at - interval '{interval}'
              WHERE id = '{}'",
            run.job
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_approval_expires() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    age(&world, &run, "6 days").await;
    assert_eq!(sweep(&world).await.unwrap().expired, 0);
    age(&world, &run, "2 days").await;
    assert_eq!(sweep(&world).await.unwrap().expired, 1);
    let job = world.read_job(run.job).await;
    assert_eq!(job["status"], "expired");
    assert!(job["error_message"].as_str().unwrap().contains("in time"), "{job}");
    assert_eq!(sweep(&world).await.unwrap().expired, 0, "once");
    let late = run.decide_approval(&world.actor, 1, false).await;
    assert_eq!(late, import_jobs::decide::Decision::WrongState(shared::domain::status::Status::Expired));
    assert_eq!(world.count_codes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_execution_cannot_be_described_is_left_alone() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::Validate).await.expect(State::Validate);
    age(&world, &run, "1 hour").await;
    assert_eq!(sweep(&world).await.unwrap().closed, 0);
    assert_eq!(world.read_status(run.job).await, "checking");
    run.finish(&world.actor).await.expect(State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_past_its_retention_is_dropped() {
    let world = World::new().await;
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'onceload_staging'";
    let mut done = world.import_file("a.csv", "code\nA\nA\n");
    done.finish(&world.actor).await.expect(State::Done);
    let mut kept = world.import_file("b.csv", "code\nB\n");
    kept.finish(&world.actor).await.expect(State::Done);
    let mut failed = world
        .import_objects(&[&world.upload("c.csv", "code\nC\n"), &world.upload("d.csv", "code,sku\nD,\"\n")]);
    failed.until(State::Done).await.error();
    assert_eq!(world.db.int(tables).await, 5);
    age(&world, &done, "8 days").await;
    age(&world, &failed, "8 days").await;
    assert_eq!(sweep(&world).await.unwrap().staging_dropped, 2);
    assert_eq!(world.db.int(tables).await, 2, "younger staging stays");
    assert_eq!(sweep(&world).await.unwrap().staging_dropped, 0);
    assert_eq!(world.read_job(done.job).await["staging_created_at"], json!(null));
    // A retry of a job without staging loads everything again.
    failed.retry(&world.actor).await;
    world.s3.remove(&world.key_under_stage("d.csv"));
    let mut again = Run::of_job(&world.app, failed.job, 2);
    again.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(again.files, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn undeliverable_messages_stay_in_the_outbox() {
    let world = World::new().await;
    let _run = world.import_to_end("a.csv", "code\nA\n").await;
    let undelivered = "SELECT count(*) FROM onceload.outbox WHERE delivered_at IS NULL";
    assert_eq!(world.db.int(undelivered).await, 3);
    world.db.exec("UPDATE onceload.outbox SET next_attempt_at = now()").await;
    let swept = sweep(&world).await.unwrap();
    // The approval's message is for a wait that has ended, so it counts as delivered.
    assert_eq!(swept.delivered, 1);
    let left = world.db.column("SELECT kind FROM onceload.outbox WHERE delivered_at IS NULL").await;
    assert_eq!(left, ["state_changed", "state_changed"]);
    let noted = "SELECT count(*) FROM onceload.outbox WHERE last_error IS NOT NULL AND attempts >= 1 AND next_attempt_at > now()";
    assert_eq!(world.db.int(noted).await, 2, "the reason is recorded and the next attempt scheduled");
    assert_eq!(sweep(&world).await.unwrap().delivered, 0);
}
