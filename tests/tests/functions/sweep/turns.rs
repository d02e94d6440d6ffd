//! The sweep does a bounded amount of work each minute, and comes to everything in turn, however much waits.

use onceload_tests::execution::budget;
use onceload_tests::states::Executions;
use onceload_tests::{Maintenance, State, World};
use serde_json::json;
use shared::db::jobs;
use shared::domain::task::ExportKind;
use shared::lambda::App;
use std::collections::BTreeSet;
use std::time::Duration;

/// Imports that wait for an approval, more than one sweep looks up.
const WAITING: usize = 600;

async fn sweep(app: &App) -> sweep_imports::Output {
    sweep_imports::handle(app.clone(), json!({}), budget()).await.unwrap()
}

/// The execution of the import that waits at this place.
fn execution_of(place: usize) -> String {
    format!("arn:aws:states:eu-central-1:000000000000:execution:import:waits-{place}")
}

/// Imports that have waited for an hour.
async fn add_waiting(world: &World) {
    let sql = format!(
        "INSERT INTO onceload.codes_import_jobs (id, merchant_id, status, phase, source_info, execution_arn, task_token,
                                                 created_at, updated_at, awaiting_since)
         SELECT gen_random_uuid(), '{}', 'awaiting_approval', 'awaiting_approval', '{{\"door\": \"s3\"}}',
                '{}' || i, 'token', hour, hour, hour
           FROM generate_series(1, {WAITING}) AS i, (SELECT now() - interval '1 hour' AS hour) AS h",
        world.merchant,
        execution_of(0).strip_suffix('0').unwrap(),
    );
    world.db.exec(&sql).await;
}

/// Lets an import have been silent for a minute.
async fn silence(world: &World, id: impl std::fmt::Display) {
    let silence = format!(
        "UPDATE onceload.codes_import_jobs SET updated_at = now() - interval '1 minute', heartbeat_at = now() - interval '1 minute'
          WHERE id = '{id}'"
    );
    world.db.exec(&silence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_imports_that_hold_a_merchant_or_a_user_are_found_at_once_behind_600_that_wait() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    add_waiting(&world).await;
    let approved = world.import_until_approval("approved.csv", "code\nA\n").await;
    let mut loading = world.import_file("loading.csv", "code\nL\n");
    loading.until(State::LoadFiles).await.expect(State::LoadFiles);
    // In line for the merchant, and its user is not free.
    approved.approve(&world.actor).await;
    for run in [&loading, &approved] {
        executions.stop(&run.execution_arn);
        silence(&world, run.job).await;
    }
    assert_eq!(sweep(&app).await.closed, 1);
    assert_eq!(world.read_status(loading.job).await, "failed");
    // The lease that was returned is its own now, and its next attempt goes on under the approval.
    let next = world.read_job(approved.job).await;
    assert_eq!((&next["status"], &next["attempt"]), (&json!("loading"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_that_wait_are_looked_up_in_turn_and_so_few_at_a_time_that_step_functions_answers() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    add_waiting(&world).await;
    executions.stop(&execution_of(WAITING / 2));
    let (mut seen, mut closed, mut sweeps) = (BTreeSet::new(), 0, 0);
    while seen.len() < WAITING {
        closed += sweep(&app).await.closed;
        let looked_up = executions.take_looked_up();
        assert!(!looked_up.is_empty() && looked_up.len() <= 75, "{}", looked_up.len());
        seen.extend(looked_up);
        sweeps += 1;
    }
    assert_eq!((sweeps, closed), (WAITING / 75, 1), "each was looked up once, and the dead one ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_that_are_over_and_old_staging_are_taken_in_turn() {
    let world = World::new().await;
    add_waiting(&world).await;
    let connection = world.app.db.connection().await.unwrap();
    let mut overdue = BTreeSet::new();
    for _ in 0..2 {
        let taken = jobs::take_overdue(&connection, Duration::from_secs(60)).await.unwrap();
        overdue.extend(taken.into_iter().map(|(job, _)| job.0));
    }
    assert_eq!(overdue.len(), WAITING);
    world
        .db
        .exec("UPDATE onceload.codes_import_jobs SET status = 'expired', phase = 'expired', finished_at = now() - interval '8 days',
                      staging_created_at = now() - interval '9 days' WHERE id IN (SELECT id FROM onceload.codes_import_jobs LIMIT 80)")
        .await;
    let mut stale = BTreeSet::new();
    for _ in 0..2 {
        stale.extend(jobs::take_stale_staging(&connection, 7).await.unwrap().into_iter().map(|job| job.0));
    }
    assert_eq!(stale.len(), 80);
}

/// Staging that is being read can't be dropped now.
#[tokio::test(flavor = "multi_thread")]
async fn staging_that_cannot_be_dropped_keeps_no_other_from_being() {
    let world = World::new().await;
    let mut runs = Vec::new();
    for name in ["a", "b", "c"] {
        runs.push(world.import_to_end(&format!("{name}.csv"), format!("code\n{name}\n")).await);
    }
    world.db.exec("UPDATE onceload.codes_import_jobs SET finished_at = now() - interval '8 days'").await;
    let read = world.first_bucket(runs[1].job).await;
    let client = world.db.connect().await;
    client.batch_execute(&format!("BEGIN; SELECT FROM {read}")).await.unwrap();
    let error = sweep_imports::handle(world.app.clone(), json!({}), budget()).await.expect_err("the alarm");
    assert!(error.message.contains(&runs[1].job.to_string()), "{error}");
    let kept = world
        .db
        .column("SELECT id FROM onceload.codes_import_jobs WHERE staging_created_at IS NOT NULL")
        .await;
    assert_eq!(kept, [runs[1].job.to_string()]);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(sweep(&world.app).await.staging_dropped, 1);
}

/// Exports hold nobody, so they have their turn as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_task_is_found_behind_600_that_are_silent() {
    let world = World::new().await;
    let (executions, app) = Executions::serve(&world).await;
    let run = world.import_to_end("a.csv", "code\nA\nA\n").await;
    world.abandon_tasks().await;
    add_waiting(&world).await;
    let silent = "INSERT INTO onceload.import_tasks (job_id, action, kind, heartbeat_at, requested_at)
                  SELECT id, 'export', 'rejects', now() - interval '1 hour', now() - interval '1 hour'
                    FROM onceload.codes_import_jobs WHERE execution_arn LIKE '%:waits-%'";
    world.db.exec(silent).await;
    let task = world.start_task(run.job, Maintenance::Export(ExportKind::Report)).await;
    let silent = format!(
        "UPDATE onceload.import_tasks SET heartbeat_at = now() - interval '1 minute' WHERE id = '{}'",
        task.task
    );
    world.db.exec(&silent).await;
    let machine = world.app.config.maintenance_state_machine_arn.clone().unwrap();
    let name = shared::domain::execution::name_of_task(task.action, task.task);
    executions.stop(&shared::domain::execution::arn(&machine, &name));
    let mut given_up = 0;
    for _ in 0..=WAITING / 75 {
        given_up += sweep(&app).await.given_up;
    }
    assert_eq!(given_up, 1);
    task.run().await.expect_err("it was given up");
}
