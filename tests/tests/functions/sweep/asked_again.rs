//! What a completed import lacks is asked for again by the sweep: its verification, and the exports of its end.

use onceload_tests::World;
use onceload_tests::execution::budget;
use serde_json::json;
use shared::domain::ids::JobId;
use shared::domain::step::{StepError, StepErrorKind};
use shared::domain::task::Action;

/// How many tasks the sweep asks for again.
async fn sweep(world: &World) -> usize {
    sweep_imports::handle(world.app.clone(), json!({}), budget()).await.unwrap().asked_again
}

/// Moves all times of the tasks into the past.
async fn age_tasks(world: &World, interval: &str) {
    world
        .db
        .exec(&format!(
            "UPDATE onceload.import_tasks
                SET requested_at = requested_at - interval '{interval}', finished_at = finished_at - interval '{interval}'"
        ))
        .await;
}

async fn list_tasks(world: &World, job: JobId) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', action, kind, status, error_type) FROM onceload.import_tasks WHERE job_id = '{job}' ORDER BY requested_at"
    );
    world.db.column(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_verification_is_asked_for_every_hour_until_it_is_there() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    run.approve(&world.actor).await;
    run.insert().await.unwrap();
    run.close_caught("Transient", "the server was away").await.unwrap();
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["verification"]), (&json!("completed"), &json!(null)));
    let message = job["error_message"].as_str().unwrap();
    assert!(message.contains("The import is not verified yet; that is tried again every hour"), "{message}");

    assert_eq!((sweep(&world).await, sweep(&world).await), (1, 0), "once");
    let promised = format!(
        "SELECT payload ->> 'action' FROM onceload.outbox WHERE job_id = '{}' AND kind = 'start_maintenance'",
        run.job
    );
    assert_eq!(world.db.column(&promised).await, ["verify"]);
    let task = world.find_task(run.job, Action::Verify).await;
    task.abandon(&StepError::new(StepErrorKind::Transient, "the server is away")).await;
    assert_eq!(sweep(&world).await, 0, "not at once");
    age_tasks(&world, "61 minutes").await;
    assert_eq!(sweep(&world).await, 1);
    world.find_task(run.job, Action::Verify).await.run().await.unwrap();
    let job = world.read_job(run.job).await;
    assert_eq!((&job["verification"]["verified"], &job["error_message"]), (&json!(true), &json!(null)));
    age_tasks(&world, "61 minutes").await;
    assert_eq!(sweep(&world).await, 0, "it is there");
    assert_eq!(list_tasks(&world, run.job).await, ["verify failed Transient", "verify done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_the_end_that_failed_is_asked_for_six_times() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\nA\n").await;
    assert_eq!(list_tasks(&world, run.job).await, ["export duplicates active"]);
    let away = StepError::new(StepErrorKind::Transient, "the server is away");
    for tries in 1..=6 {
        world.find_task(run.job, Action::Export).await.abandon(&away).await;
        assert_eq!(sweep(&world).await, 0, "not at once");
        age_tasks(&world, "6 minutes").await;
        assert_eq!(sweep(&world).await, usize::from(tries < 6), "{tries}");
    }
    let tasks = list_tasks(&world, run.job).await;
    assert_eq!(tasks, vec!["export duplicates failed Transient"; 6]);
    let shown =
        shared::db::tasks::list_exports(&world.app.db.connection().await.unwrap(), run.job).await.unwrap();
    assert!(
        shown[0].error_message.as_ref().is_some_and(|why| why.starts_with("the server is away; ")),
        "{shown:?}"
    );
}

/// What no repetition mends is not repeated, nor what a person has asked for since.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_for_good_is_not_asked_for_again() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\nA\n").await;
    let slow = StepError::new(StepErrorKind::TimeBudgetExceeded, "too many rows");
    world.find_task(run.job, Action::Export).await.abandon(&slow).await;
    age_tasks(&world, "6 minutes").await;
    assert_eq!(sweep(&world).await, 0);

    let other = world.import_to_end("b.csv", "code\nB\nB\n").await;
    let away = StepError::new(StepErrorKind::Transient, "the server is away");
    world.find_task(other.job, Action::Export).await.abandon(&away).await;
    age_tasks(&world, "6 minutes").await;
    let kind = onceload_tests::Maintenance::Export(shared::domain::task::ExportKind::Duplicates);
    world.run_task(other.job, kind).await;
    assert_eq!(sweep(&world).await, 0);
}
