//! The sweep ends what nobody works on any more within two minutes, and never what an execution works on.

use onceload_tests::db::value;
use onceload_tests::execution::budget;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::states::Executions;
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::json;
use shared::db::Limits;
use shared::domain::execution;
use shared::domain::ids::JobId;
use shared::domain::task::ClaimedCodes;
use shared::lambda::App;
use shared::lambda::clients::LONGEST_CALL;
use std::time::Duration;
use sweep_imports::SILENT;

async fn sweep(app: &App) -> sweep_imports::Output {
    sweep_imports::handle(app.clone(), json!({}), budget()).await.unwrap()
}

/// Lets a job have been silent for so long.
async fn silence(world: &World, job: JobId, silent: Duration) {
    let silence = format!(
        "UPDATE onceload.codes_import_jobs
            SET updated_at = now() - interval '{0} seconds', heartbeat_at = now() - interval '{0} seconds' WHERE id = '{job}'",
        silent.as_secs()
    );
    world.db.exec(&silence).await;
}

/// Lets an execution of this import be stopped, and its steps be silent for as long as that takes to be noticed.
async fn stop(world: &World, executions: &Executions, run: &Run) {
    executions.stop(&run.execution_arn);
    silence(world, run.job, SILENT + Duration::from_secs(1)).await;
}

/// A stop is noticed after the silence, by the next sweep, which asks and closes.
#[test]
fn a_stop_frees_the_merchant_within_two_minutes() {
    let template = std::fs::read_to_string(xtask::project::root().join("template.yaml")).unwrap();
    let sweep = template.split_once("  SweepImportsFunction:").expect("the sweep").1;
    let schedule = sweep.split_once("Schedule: ").expect("a schedule").1.lines().next().unwrap();
    assert_eq!(schedule, "rate(1 minute)");
    let closing = Limits::short().statement;
    assert!(SILENT + Duration::from_secs(60) + LONGEST_CALL + closing <= Duration::from_secs(120));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_execution_was_stopped_gives_its_merchant_and_its_user_back() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    for state in [State::LoadFiles, State::Validate, State::InsertCodes] {
        let mut run = world.import_file(&format!("{state:?}.csv"), format!("code\n{state:?}\n"));
        run.until(state).await.expect(state);
        let profile = format!(
            "UPDATE onceload.codes_import_jobs SET created_by = '{0}' WHERE id = '{1}';
             INSERT INTO onceload.user_profiles (user_id, import_status, job_id, processing_started_at) VALUES ('{0}', 'processing', '{1}', now())
             ON CONFLICT (user_id) DO UPDATE SET import_status = 'processing', job_id = EXCLUDED.job_id",
            world.actor.user, run.job
        );
        world.db.exec(&profile).await;
        if state == State::InsertCodes {
            run.approve(&world.actor).await;
            // As insert-codes does when it begins: the execution has heard of the approval.
            world.db.exec("UPDATE onceload.codes_import_jobs SET task_token = NULL").await;
        }
        stop(&world, &executions, &run).await;
        assert_eq!(sweep(&app).await.closed, 1, "{state:?}");
        let job = world.read_job(run.job).await;
        assert_eq!((&job["status"], &job["leased"]), (&json!("failed"), &json!(false)), "{state:?}");
        let user = "SELECT import_status FROM onceload.user_profiles";
        assert_eq!(world.db.value(user).await, "failed", "{state:?}");
    }
    // The merchant is free.
    world.import_to_end("next.csv", "code\nN\n").await;
}

/// StopExecution doesn't reach the function that works. It goes on, and beats, for up to 15 minutes.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_execution_was_stopped_ends_although_its_function_beats() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
    let held = world.hold_reads(&world.first_bucket(run.job).await).await;
    let marking = run.with_own_connections(&world);
    let marking = tokio::spawn(async move { marking.mark_all().await });
    world.wait_for_beats("onceload.codes_import_jobs", &run.job.to_string()).await;
    assert_eq!(sweep(&app).await.closed, 0, "its execution runs");
    executions.stop(&run.execution_arn);
    assert_eq!(sweep(&app).await.closed, 1);
    assert_eq!(world.read_job(run.job).await["leased"], json!(false));
    held.release().await;
    marking.await.unwrap().expect_err("fenced off");
    world.import_to_end("next.csv", "code\nN\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_execution_runs_is_left_alone_however_silent_it_is() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::Validate).await.expect(State::Validate);
    silence(&world, run.job, Duration::from_secs(86_400)).await;
    assert_eq!(sweep(&app).await.closed, 0);
    assert_eq!(executions.take_looked_up(), [run.execution_arn.clone()]);
    run.finish(&world.actor).await.expect(State::Done);
}

/// Its execution was started, and stopped before it took the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_whose_execution_was_stopped_before_it_opened_ends() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    let mut run = world.import_file("a.csv", "code,sku\nA,\"\n");
    run.until(State::Done).await.error();
    run.retry(&world.actor).await;
    silence(&world, run.job, SILENT + Duration::from_secs(1)).await;
    assert_eq!(sweep(&app).await.closed, 0, "it runs, and is still to open");
    let machine = world.app.config.state_machine_arn.clone().unwrap();
    executions.stop(&execution::arn(&machine, &execution::name_of_attempt(run.job, 2)));
    assert_eq!(sweep(&app).await.closed, 1);
    assert_eq!(world.read_status(run.job).await, "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_whose_execution_was_stopped_gives_its_merchant_back() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    let task = world.start_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    assert_eq!(sweep(&app).await.given_up, 0, "it runs");
    let machine = world.app.config.maintenance_state_machine_arn.clone().unwrap();
    executions.stop(&execution::arn(&machine, &execution::name_of_task(task.action, task.task)));
    assert_eq!(sweep(&app).await.given_up, 1, "although it has just begun to work");
    assert_eq!(world.read_job(run.job).await["leased"], json!(false));
    task.run().await.expect_err("fenced off");
    assert_eq!(world.count_codes().await, 1);
}

/// The line of one merchant is held, so its import can't be ended now. The other merchant's is.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_be_ended_keeps_no_other_from_being() {
    let mut world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    let mut stuck = world.import_file("a.csv", "code\nA\n");
    stuck.until(State::LoadFiles).await.expect(State::LoadFiles);
    let blocked = world.merchant;
    world.merchant = add_merchant(&world.db, "Second").await;
    world.actor = add_member(&world.db, world.merchant).await;
    let mut other = world.import_file("b.csv", "code\nB\n");
    other.until(State::LoadFiles).await.expect(State::LoadFiles);
    for run in [&stuck, &other] {
        stop(&world, &executions, run).await;
    }
    let client = world.db.connect().await;
    client.batch_execute(&format!("BEGIN; SELECT onceload.lock_line('{blocked}')")).await.unwrap();
    let error =
        sweep_imports::handle(app.clone(), json!({}), budget()).await.expect_err("the alarm goes off");
    assert!(error.message.contains(&stuck.job.to_string()), "{error}");
    assert_eq!(world.read_status(other.job).await, "failed");
    assert_eq!(value(&client, "SELECT count(*) FROM onceload.codes_import_jobs WHERE leased").await, "1");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(sweep(&app).await.closed, 1);
    assert_eq!(world.read_status(stuck.job).await, "failed");
}
