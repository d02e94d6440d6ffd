//! Every long step beats once a second, whatever its statements wait for.

use onceload_tests::files::noise;
use onceload_tests::{Maintenance, MaintenanceTask, Run, State, World};
use shared::domain::step::StepResult;
use shared::domain::task::{ClaimedCodes, ExportKind};

const JOBS: &str = "onceload.codes_import_jobs";

/// Runs the next step of an import, which is held at a read of this table, and waits for its beats.
async fn step_while_held(world: &World, run: &Run, table: &str, statement: &str) -> StepResult<State> {
    let held = world.hold_reads(table).await;
    // As many connections as the step that needs most has.
    let mut working = Run { app: world.app_with_pool(3), ..run.clone() };
    let (stepped, ()) = tokio::join!(working.step(), async {
        world.db.wait_for_running(statement).await;
        world.wait_for_beats(JOBS, &run.job.to_string()).await;
        held.release().await;
    });
    stepped
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_beats_while_its_chunks_are_planned_marked_and_validated_and_its_codes_inserted_and_verified()
 {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\nC\nD\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    // Two buckets: both halves of validation work, and the insert sorts one chunk ahead.
    run.split_at(&world.db, &["C"]).await;
    run.until(State::PlanChunks).await.expect(State::PlanChunks);
    let bucket = world.first_bucket(run.job).await;
    for (state, table, statement) in [
        (State::PlanChunks, "onceload.import_files", "files.list"),
        (State::MarkDuplicates, bucket.as_str(), "staging.read"),
        (State::Validate, &bucket, "staging.count_rows"),
        (State::InsertCodes, &bucket, "staging.insert"),
        (State::Verify, "onceload.codes", "codes.verify"),
    ] {
        run.until(state).await.expect(state);
        if state == State::InsertCodes {
            run.approve(&world.actor).await;
        }
        let next = step_while_held(&world, &run, table, statement).await;
        next.unwrap_or_else(|error| panic!("{state:?}: {error}"));
    }
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 4);
}

/// Reading the heads of many files takes long before anything is loaded. Work and beats share the one connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_beats_while_the_heads_of_its_files_are_read() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let mut run = world.import_objects(&[&key]);
    let gate = world.s3.gate(&key, 0);
    let mut opening = Run { app: world.app_with_pool(1), ..run.clone() };
    let (opened, ()) = tokio::join!(opening.open(), async {
        let frozen = "SELECT count(*) > 0 FROM onceload.codes_import_jobs WHERE files_frozen_at IS NOT NULL";
        world.db.until("a job", frozen).await;
        let job = world.db.value("SELECT id FROM onceload.codes_import_jobs").await;
        world.wait_for_beats(JOBS, &job).await;
        gate.send(true).unwrap();
    });
    assert_eq!(opened.unwrap(), State::LoadFiles);
    run.finish(&world.actor).await.expect(State::Done);
}

async fn claim(world: &World, code: &str) {
    let claim =
        format!("UPDATE onceload.codes SET claimed = true, claimed_customer_id = 'x' WHERE code = '{code}'");
    world.db.exec(&claim).await;
}

/// Runs a task, which is held at a read of this table, and waits for its beats.
async fn task_while_held(world: &World, task: &MaintenanceTask, table: &str, when: &str) {
    let held = world.hold_reads_when(table, when).await;
    let working = MaintenanceTask { app: world.app_with_pool(3), ..task.clone() };
    let work = tokio::spawn(async move { working.run().await });
    held.wait_for_reader(world).await;
    world.wait_for_beats("onceload.import_tasks", &task.task.to_string()).await;
    assert!(!work.is_finished(), "it is still held");
    held.release().await;
    work.await.unwrap().unwrap_or_else(|error| panic!("{:?}: {error}", task.action));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_an_export_and_a_rollback_beat() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\nB\n").await;
    let bucket = world.first_bucket(run.job).await;
    claim(&world, "A").await;
    let verify = world.start_task(run.job, Maintenance::Verify).await;
    task_while_held(&world, &verify, "onceload.codes", "true").await;
    let export = world.start_task(run.job, Maintenance::Export(ExportKind::Report)).await;
    task_while_held(&world, &export, &bucket, "true").await;
    let rollback = world.start_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    task_while_held(&world, &rollback, "onceload.codes", "true").await;
    assert_eq!(world.count_codes().await, 1);
}

/// The codes that a rollback keeps are listed after its transaction, under the same task.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_beats_while_it_lists_what_it_keeps() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\nB\n").await;
    claim(&world, "A").await;
    let task = world.start_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    let listing = "EXISTS (SELECT FROM onceload.codes_import_jobs WHERE status = 'rolled_back')";
    task_while_held(&world, &task, "onceload.codes", listing).await;
}

/// Parts of one step, decisions and the step's own fence write the job's row. A beat leaves it out then, and counts what is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_beat_does_not_queue_for_a_row_that_somebody_else_writes() {
    let world = World::new().await;
    let text = noise(100_000);
    let mut run = world.import_file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let gate = world.s3.gate(&world.key_under_stage("a.csv"), text.len() as u64 / 2);
    let loading = run.with_own_connections(&world);
    let load = tokio::spawn(async move { loading.load(1).await });
    let counted = "SELECT count(*) > 0 FROM onceload.import_progress WHERE rows_done > 0";
    world.db.until("rows are counted", counted).await;
    let client = world.db.connect().await;
    client
        .batch_execute("BEGIN; SELECT FROM onceload.codes_import_jobs FOR NO KEY UPDATE; SELECT FROM onceload.user_profiles FOR NO KEY UPDATE")
        .await
        .unwrap();
    for _ in 0..2 {
        let last = world.db.value("SELECT updated_at FROM onceload.import_progress").await;
        let beaten = format!("SELECT updated_at > '{last}' FROM onceload.import_progress");
        world.db.until("the next beat", &beaten).await;
    }
    client.batch_execute("COMMIT").await.unwrap();
    world.wait_for_beats(JOBS, &run.job.to_string()).await;
    gate.send(true).unwrap();
    load.await.unwrap().unwrap();
    run.at = State::PlanChunks;
    run.finish(&world.actor).await.expect(State::Done);
}
