//! An import whose step is repeated for want of the database or of S3 says so, and goes on as if nothing had been.

use onceload_tests::execution::budget;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::step::{StepErrorKind, StepResult};
use shared::lambda::serve::invoke;

/// Loads the first file as the state machine does.
async fn load(run: &Run) -> StepResult<load_staging::Output> {
    let input = json!({ "job_id": run.job, "attempt": run.attempt, "file_no": 1 });
    invoke(run.app.clone(), input, budget(), load_staging::handle).await
}

/// The first failure was so long ago.
async fn age(world: &World, run: &Run, seconds: u32) {
    let sql = format!(
        "UPDATE onceload.codes_import_jobs SET delayed_since = delayed_since - interval '{seconds} s' WHERE id = '{}'",
        run.job
    );
    world.db.exec(&sql).await;
}

async fn phase(world: &World, run: &Run) -> Value {
    world.show(run.job).await["phase"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_an_outsider_shows_after_a_minute_and_leaves_no_trace() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let outsider = world.db.connect().await;
    let file = format!("SELECT FROM onceload.import_files WHERE job_id = '{}' FOR UPDATE", run.job);
    outsider.batch_execute(&format!("BEGIN; {file}")).await.unwrap();

    let error = load(&run).await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    assert!(error.message.contains("another session holds a lock"), "{error}");
    assert_eq!(phase(&world, &run).await, "loading", "not for less than a minute");
    age(&world, &run, 61).await;
    assert_eq!(phase(&world, &run).await, "waiting_for_database");
    let row = world.read_job(run.job).await;
    assert_eq!((&row["status"], &row["phase"]), (&json!("loading"), &json!("loading")), "steps decide by it");
    // It fails again, and has been failing since.
    load(&run).await.unwrap_err();
    assert_eq!(phase(&world, &run).await, "waiting_for_database");

    outsider.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(load(&run).await.unwrap().counts.staged, 2);
    assert_eq!(phase(&world, &run).await, "loading");
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let shown = world.show(run.job).await;
    assert_eq!((&shown["phase"], &shown["error_message"]), (&json!("awaiting_approval"), &Value::Null));
    assert_eq!(shown["validation_errors"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_can_t_read_s3_says_so_from_the_first_step_on() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    let away = onceload_tests::fixture::objects_at(&onceload_tests::fixture::unused_endpoint());
    let clients = world.app.clients.with_objects(away);
    let cut_off = shared::lambda::App { clients, ..world.app.clone() };
    let open = json!({ "input": run.input, "execution_arn": run.execution_arn });
    let error = invoke(cut_off, open.clone(), budget(), open_import::handle).await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    let job = world.db.value("SELECT id FROM onceload.codes_import_jobs").await;
    run.job = serde_json::from_value(json!(job)).unwrap();
    age(&world, &run, 61).await;
    assert_eq!(phase(&world, &run).await, "waiting_for_storage");
    // The way on is a change of the job's state.
    invoke(world.app.clone(), open, budget(), open_import::handle).await.unwrap();
    assert_eq!(phase(&world, &run).await, "loading");
    let row = world.read_job(run.job).await;
    assert_eq!((&row["delayed_since"], &row["error_message"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_and_an_end_forget_the_delay() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let delay = format!(
        "UPDATE onceload.codes_import_jobs SET delayed_since = now() - interval '1 hour',
                delayed_phase = 'waiting_for_storage' WHERE id = '{}'",
        run.job
    );
    world.db.exec(&delay).await;
    assert_eq!(phase(&world, &run).await, "waiting_for_storage");
    run.close_caught("Internal", "").await.unwrap();
    assert_eq!(phase(&world, &run).await, "failed");
}
