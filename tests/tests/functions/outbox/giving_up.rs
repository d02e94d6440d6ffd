//! Messages that can't be delivered for a day are given up, and the job says so.

use onceload_tests::execution::budget;
use onceload_tests::fixture::{clients_at, serve_refusals};
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::json;
use shared::domain::task::ClaimedCodes;
use shared::lambda::App;

async fn sweep(app: &App) -> sweep_imports::Output {
    sweep_imports::handle(app.clone(), json!({}), budget()).await.unwrap()
}

/// Moves all times of the outbox, the jobs and the tasks into the past, and makes every message due.
async fn age(world: &World, interval: &str) {
    world
        .db
        .exec(&format!(
            "UPDATE onceload.outbox SET created_at = created_at - interval '{interval}',
                    delivered_at = delivered_at - interval '{interval}', next_attempt_at = now();
             UPDATE onceload.codes_import_jobs SET updated_at = updated_at - interval '{interval}', heartbeat_at = heartbeat_at - interval '{interval}';
             UPDATE onceload.import_tasks SET requested_at = requested_at - interval '{interval}', heartbeat_at = heartbeat_at - interval '{interval}'"
        ))
        .await;
}

async fn count_given_up(world: &World) -> i64 {
    world.db.int("SELECT count(*) FROM onceload.outbox WHERE given_up_at IS NOT NULL").await
}

/// A retry whose start is promised.
async fn retry_failed(world: &World) -> Run {
    let mut run = world.import_file("a.csv", "code,sku\nA,\"\n");
    run.until(State::Done).await.error();
    run.retry(&world.actor).await;
    world.db.exec("DELETE FROM onceload.outbox WHERE kind <> 'start_execution'").await;
    run
}

/// Step Functions fails to start anything, and finds no execution.
async fn without_executions(world: &World) -> App {
    let gone = serve_refusals("ExecutionDoesNotExist").await;
    App { clients: clients_at(&gone, world.app.objects()), ..world.app.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_sent_for_a_day_fails_its_job() {
    let world = World::new().await;
    let run = retry_failed(&world).await;
    let app = without_executions(&world).await;
    age(&world, "23 hours").await;
    assert_eq!(sweep(&app).await.closed, 0, "its start is on its way");
    assert_eq!((world.read_status(run.job).await.as_str(), count_given_up(&world).await), ("loading", 0));
    age(&world, "2 hours").await;
    sweep(&app).await;
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("failed"), &json!(false)));
    assert_eq!(
        job["error_message"],
        "its execution could not be started for a day; when Step Functions answers again, retry"
    );
    assert_eq!(count_given_up(&world).await, 1);
    age(&world, "1 hour").await;
    sweep(&app).await;
    assert_eq!(
        count_given_up(&world).await,
        1,
        "it is not tried again, and neither are messages that are young enough"
    );
    run.retry(&world.actor).await;
    assert_eq!(world.read_status(run.job).await, "loading", "the advice can be followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_execution_was_started_and_lost_ends_soon() {
    let world = World::new().await;
    let run = retry_failed(&world).await;
    let app = without_executions(&world).await;
    world.db.exec("UPDATE onceload.outbox SET delivered_at = now()").await;
    age(&world, "9 minutes").await;
    assert_eq!(sweep(&app).await.closed, 0, "Step Functions may not find it yet");
    age(&world, "2 minutes").await;
    assert_eq!(sweep(&app).await.closed, 1);
    assert_eq!(world.read_job(run.job).await["error_message"], "its execution is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_read_fails_its_job_after_an_hour() {
    let world = World::new().await;
    let run = retry_failed(&world).await;
    world.db.exec("UPDATE onceload.outbox SET payload = '{}'").await;
    let app = without_executions(&world).await;
    age(&world, "50 minutes").await;
    sweep(&app).await;
    assert_eq!(count_given_up(&world).await, 0);
    age(&world, "20 minutes").await;
    sweep(&app).await;
    assert_eq!((world.read_status(run.job).await.as_str(), count_given_up(&world).await), ("failed", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_published_for_a_day_is_noted_on_its_job() {
    let world = World::new().await;
    let done = world.import_to_end("a.csv", "code\nA\n").await;
    let mut failed = world.import_file("b.csv", "code,sku\nA,\"\n");
    let why = failed.until(State::Done).await.error().message;
    age(&world, "25 hours").await;
    sweep(&world.app).await;
    assert_eq!(count_given_up(&world).await, 3);
    let job = world.read_job(done.job).await;
    let note = "the event ImportStateChanged could not be published for a day: nobody was told";
    assert_eq!((&job["status"], &job["error_message"]), (&json!("completed"), &json!(note)));
    assert_eq!(world.read_job(failed.job).await["error_message"], why, "what it had to say stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_cannot_be_passed_on_for_a_day_fails_its_job() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    run.approve(&world.actor).await;
    age(&world, "25 hours").await;
    sweep(&world.app).await;
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("failed"), &json!(false)));
    assert!(job["error_message"].as_str().unwrap().contains("could not be woken"), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_be_started_for_a_day_gives_the_lease_back() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    world.start_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    let app = without_executions(&world).await;
    age(&world, "23 hours").await;
    assert_eq!(sweep(&app).await.given_up, 0, "its start is on its way");
    assert_eq!(world.read_job(run.job).await["leased"], true);
    age(&world, "2 hours").await;
    sweep(&app).await;
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("completed"), &json!(false)));
    let task = "SELECT status || ': ' || error_message FROM onceload.import_tasks";
    assert_eq!(
        world.db.column(task).await,
        [
            "failed: its execution could not be started for a day; when Step Functions answers again, ask for it again"
        ]
    );
}
