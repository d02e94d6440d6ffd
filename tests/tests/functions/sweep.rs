//! What nobody finished is finished by the sweep.

use onceload_tests::drive::budget;
use onceload_tests::{Bench, Run, State};
use serde_json::json;
use shared::domain::step::StepResult;

async fn sweep(bench: &Bench) -> StepResult<sweep_imports::Output> {
    sweep_imports::handle(bench.app.clone(), json!({}), budget()).await
}

/// Moves everything that happened to a job into the past.
async fn age(bench: &Bench, run: &Run, interval: &str) {
    bench
        .db
        .exec(&format!(
            "UPDATE codes_import_jobs SET updated_at = updated_at - interval '{interval}', heartbeat_at = heartbeat_at - interval '{interval}',
                    awaiting_since = awaiting_since - interval '{interval}', finished_at = finished_at - interval '{interval}'
              WHERE id = '{}'",
            run.job
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_that_are_over_expire() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    age(&bench, &run, "6 days").await;
    assert_eq!(sweep(&bench).await.unwrap().expired, 0);
    age(&bench, &run, "2 days").await;
    assert_eq!(sweep(&bench).await.unwrap().expired, 1);
    let job = bench.job(run.job).await;
    assert_eq!(job["status"], "expired");
    assert!(job["error_message"].as_str().unwrap().contains("in time"), "{job}");
    assert_eq!(sweep(&bench).await.unwrap().expired, 0, "once");
    let late = run.decide_approval(&bench.actor, 1, false).await;
    assert_eq!(late, shared::db::decisions::Decision::WrongState(shared::domain::job::Status::Expired));
    assert_eq!(bench.codes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_could_not_be_started_is_closed() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code,sku\nA,\"\n");
    run.until(State::Done).await.error();
    run.retry(&bench.actor).await;
    // Its start can't be delivered: nobody listens there.
    let swept = sweep(&bench).await.unwrap();
    assert_eq!((swept.delivered, swept.closed), (0, 0), "not yet");
    age(&bench, &run, "11 minutes").await;
    assert_eq!(sweep(&bench).await.unwrap().closed, 1);
    let job = bench.job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("failed"), &json!(false)));
    assert!(job["error_message"].as_str().unwrap().contains("could not be started"), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_execution_cannot_be_looked_up_is_left_alone() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.until(State::Validate).await.expect(State::Validate);
    age(&bench, &run, "1 hour").await;
    assert_eq!(sweep(&bench).await.unwrap().closed, 0);
    assert_eq!(bench.status(run.job).await, "checking");
    run.finish(&bench.actor).await.expect(State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_staging_is_dropped() {
    let bench = Bench::new().await;
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'onceload_staging'";
    let mut done = bench.file("a.csv", "code\nA\nA\n");
    done.finish(&bench.actor).await.expect(State::Done);
    let mut kept = bench.file("b.csv", "code\nB\n");
    kept.finish(&bench.actor).await.expect(State::Done);
    let mut failed =
        bench.request(&[&bench.stage("c.csv", "code\nC\n"), &bench.stage("d.csv", "code,sku\nD,\"\n")]);
    failed.until(State::Done).await.error();
    assert_eq!(bench.db.int(tables).await, 5);
    age(&bench, &done, "8 days").await;
    age(&bench, &failed, "8 days").await;
    assert_eq!(sweep(&bench).await.unwrap().staging_dropped, 2);
    assert_eq!(bench.db.int(tables).await, 2, "the younger one stays");
    assert_eq!(sweep(&bench).await.unwrap().staging_dropped, 0);
    assert_eq!(bench.job(done.job).await["staging_created_at"], json!(null));
    // A retry of a job without staging loads everything again.
    failed.retry(&bench.actor).await;
    bench.s3.remove(&bench.stage_key("d.csv"));
    let mut again = Run::of_job(&bench.app, failed.job, 2);
    again.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(again.files, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_delivered_stays() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.finish(&bench.actor).await.expect(State::Done);
    let undelivered = "SELECT count(*) FROM outbox WHERE delivered_at IS NULL";
    assert_eq!(bench.db.int(undelivered).await, 3);
    bench.db.exec("UPDATE outbox SET next_attempt_at = now()").await;
    let swept = sweep(&bench).await.unwrap();
    // The approval's message is for a wait that is over: there is nothing left to send.
    assert_eq!(swept.delivered, 1);
    let left = bench.db.column("SELECT kind FROM outbox WHERE delivered_at IS NULL").await;
    assert_eq!(left, ["state_changed", "state_changed"]);
    let said = "SELECT count(*) FROM outbox WHERE last_error IS NOT NULL AND attempts >= 1 AND next_attempt_at > now()";
    assert_eq!(bench.db.int(said).await, 2, "with the reason, and later");
    assert_eq!(sweep(&bench).await.unwrap().delivered, 0);
}
