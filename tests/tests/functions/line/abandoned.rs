//! Imports in line that nobody woke, or whose execution is gone: the line goes on.

use super::waiting::{count_wakes, imports, line_up, place, read_place, sweep};
use onceload_tests::fixture::{clients_at, serve_acceptance, serve_refusals};
use onceload_tests::{State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;
use shared::lambda::App;

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

/// Nobody listens to a token: its execution was stopped, or is awake already. The next in line goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_is_passed_over() {
    let world = World::new().await;
    let mut runs = imports::<3>(&world);
    line_up(&mut runs).await;
    let nobody = serve_refusals("TaskTimedOut").await;
    runs[0].app = App { clients: clients_at(&nobody, world.app.objects()), ..world.app.clone() };
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    for run in &runs[1..] {
        assert_eq!(count_wakes(&world, run).await, 1, "tried in turn");
        assert_eq!(read_place(&world, run).await, place("pending", "registered"));
    }
    // The second lives after all, and has not lost its place to the third.
    for i in [2, 1] {
        runs[i].at = runs[i].open().await.unwrap();
    }
    assert_eq!((runs[2].at, runs[1].at), (State::LoadFiles, State::WaitForMerchant));
}

/// A token wakes its job once. The job is woken again only after it has slept again.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_used_is_forgotten() {
    let world = World::new().await;
    let mut runs = imports::<2>(&world);
    line_up(&mut runs).await;
    let somebody = serve_acceptance().await;
    let listening = App { clients: clients_at(&somebody, world.app.objects()), ..world.app.clone() };
    runs[0].app = listening.clone();
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    let job = world.read_job(runs[1].job).await;
    assert_eq!((&job["phase"], &job["task_token"]), (&json!("waiting_for_merchant"), &json!(null)));
    let undelivered =
        "SELECT count(*) FROM onceload.outbox WHERE kind = 'task_success' AND delivered_at IS NULL";
    assert_eq!(world.db.int(undelivered).await, 0);
    assert_eq!(sweep(&listening).await.woken, 0);
}

/// The sweep finds who sleeps beside a free lease: here the promise itself is gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_finds_a_lost_wake_up() {
    let world = World::new().await;
    let mut runs = imports::<3>(&world);
    line_up(&mut runs).await;
    assert_eq!(sweep(&world.app).await.woken, 0, "the merchant is busy");
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    world.db.exec("DELETE FROM onceload.outbox WHERE kind = 'task_success'").await;
    assert_eq!(sweep(&world.app).await.woken, 1);
    assert_eq!((count_wakes(&world, &runs[1]).await, count_wakes(&world, &runs[2]).await), (1, 0));
}

/// The waiting execution was stopped. The sweep ends its job and says why, and the line goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_line_whose_execution_is_gone_ends() {
    let world = World::new().await;
    let mut runs = imports::<3>(&world);
    line_up(&mut runs).await;
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    let silent = format!(
        "UPDATE onceload.codes_import_jobs SET updated_at = now() - interval '1 hour', heartbeat_at = now() - interval '1 hour'
          WHERE id = '{}'",
        runs[1].job
    );
    world.db.exec(&silent).await;
    let gone = serve_refusals("ExecutionDoesNotExist").await;
    let app = App { clients: clients_at(&gone, world.app.objects()), ..world.app.clone() };
    assert_eq!(sweep(&app).await.closed, 1);
    let job = world.read_job(runs[1].job).await;
    assert_eq!((&job["status"], &job["error_message"]), (&json!("failed"), &json!("its execution is gone")));
    assert_eq!(count_wakes(&world, &runs[2]).await, 1);
}
