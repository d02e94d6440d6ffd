//! The steps of the state machines, and the functions that a schedule or a deployment calls.

use crate::call::Call;
use crate::files::numbered;
use crate::{Maintenance, MaintenanceTask, Run, State, World};
use serde_json::{Value, json};
use shared::domain::task::{ClaimedCodes, ExportKind};

/// Codes that are new, twice in the file, there already, and both.
const FILE: &str = "code,points\nALPHA,1\nBRAVO,2\nALPHA,3\nHOTEL,4\nOSCAR,5\nOSCAR,6\nPAPA,7\nZULU,8\n";
/// Some of them again, and two rejects.
const SECOND: &str = "code,points\nBRAVO,9\nMIKE,1\n,2\nNOVEMBER,x\nYANKEE,3\n";

/// An import of two files, whose execution has not begun, of a merchant who has some of its codes.
pub(super) async fn new_import(world: &World) -> Run {
    world.add_codes(&["HOTEL", "OSCAR"]).await;
    world.import_objects(&[&world.upload("a.csv", FILE), &world.upload("b.csv", SECOND)])
}

/// The same import before this state, with three buckets of staging.
pub(super) async fn import_at(world: &World, stop: State) -> Run {
    let mut run = new_import(world).await;
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["H", "P"]).await;
    match stop {
        State::LoadFiles => {}
        // The approval.
        State::InsertCodes => {
            run.until(stop).await.expect(stop);
            run.approve(&world.actor).await;
        }
        State::Verify | State::Close => {
            run.until(State::InsertCodes).await.expect(State::InsertCodes);
            run.approve(&world.actor).await;
            run.insert().await.expect("insert-codes");
            if stop == State::Close {
                run.verify().await.expect("verify-import");
            }
        }
        State::Done => run.finish(&world.actor).await.expect(State::Done),
        _ => run.until(stop).await.expect(stop),
    }
    run
}

fn open_call(run: &Run, token: Option<&str>) -> Call {
    let input = json!({ "input": run.input, "execution_arn": run.execution_arn, "task_token": token });
    Call::step("open-import", input)
}

fn job_call(function: &str, run: &Run, more: Value) -> Call {
    Call::step(function, json!({ "job_id": run.job, "attempt": run.attempt })).with(more)
}

pub(super) async fn nothing(_: &World) -> Call {
    Call::step("migrate", json!({}))
}

pub(super) async fn open(world: &World) -> Call {
    open_call(&new_import(world).await, None)
}

pub(super) async fn open_manifest(world: &World) -> Call {
    world.upload("batch/a.csv", FILE);
    world.upload("batch/b.csv", SECOND);
    let key = world.key_under_stage("batch/manifest.json");
    let version = world.s3.put(&key, "{\"files\":[\"a.csv\",\"b.csv\"]}");
    open_call(&Run::of_upload(&world.app, &key, &version), None)
}

pub(super) async fn open_bad_name(world: &World) -> Call {
    let key = world.key_under_import("a.zip");
    let version = world.s3.put(&key, "no import");
    open_call(&Run::of_upload(&world.app, &key, &version), None)
}

pub(super) async fn open_attempt(world: &World) -> Call {
    let mut run = new_import(world).await;
    world.upload("b.csv", "code,sku\nD,\"\n");
    run.until(State::Done).await.error();
    run.retry(&world.actor).await;
    let again = Run::of_job(&world.app, run.job, run.attempt + 1);
    open_call(&again, None)
}

/// One import works, and another one opens.
async fn two_imports(world: &World) -> (Run, Run) {
    let first = import_at(world, State::LoadFiles).await;
    (first, world.import_file("second.csv", "code\nSECOND\n"))
}

pub(super) async fn open_busy(world: &World) -> Call {
    open_call(&two_imports(world).await.1, None)
}

pub(super) async fn open_wait(world: &World) -> Call {
    let (_, mut second) = two_imports(world).await;
    second.open().await.expect("open-import");
    open_call(&second, Some(&second.token))
}

pub(super) async fn open_woken(world: &World) -> Call {
    let (mut first, mut second) = two_imports(world).await;
    second.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    first.finish(&world.actor).await.expect(State::Done);
    open_call(&second, None)
}

fn load_call(run: &Run, file_no: i32) -> Call {
    job_call("load-staging", run, json!({ "file_no": file_no }))
}

/// Several buffers of rows for each bucket.
pub(super) async fn load(world: &World) -> Call {
    let mut run = world.import_file("a.csv", numbered("CODE", 0..4_000));
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["CODE001000", "CODE002500"]).await;
    load_call(&run, 1)
}

pub(super) async fn load_rejects(world: &World) -> Call {
    load_call(&import_at(world, State::LoadFiles).await, 2)
}

pub(super) async fn load_fault(world: &World) -> Call {
    let mut run = world.import_file("a.csv", "code,sku\nA,1\nB,\"\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    load_call(&run, 1)
}

/// Loads what replaces a file that was loaded.
pub(super) async fn load_mended(world: &World) -> Call {
    let mut run = new_import(world).await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let key = world.correct("better.csv", "code,points\nBETTER,1\nALPHA,2\n");
    run.mend(&world.actor, 2, Some(&key)).await;
    let mut again = Run { job: run.job, ..Run::of_job(&world.app, run.job, run.attempt + 1) };
    again.until(State::LoadFiles).await.expect(State::LoadFiles);
    load_call(&again, 2)
}

pub(super) async fn mark_plan(world: &World) -> Call {
    job_call("mark-duplicates", &import_at(world, State::PlanChunks).await, json!({ "chunk": null }))
}

pub(super) async fn mark_chunk(world: &World) -> Call {
    let run = import_at(world, State::MarkDuplicates).await;
    job_call("mark-duplicates", &run, json!({ "chunk": run.chunks[0] }))
}

pub(super) async fn validate(world: &World) -> Call {
    job_call("validate-import", &import_at(world, State::Validate).await, json!({}))
}

pub(super) async fn await_approval(world: &World) -> Call {
    let run = import_at(world, State::WaitForApproval).await;
    job_call("validate-import", &run, json!({ "task_token": run.token }))
}

pub(super) async fn insert(world: &World) -> Call {
    job_call("insert-codes", &import_at(world, State::InsertCodes).await, json!({}))
}

/// Another writer has inserted one of the clean codes since.
pub(super) async fn insert_late(world: &World) -> Call {
    let run = import_at(world, State::InsertCodes).await;
    world.add_codes(&["ZULU"]).await;
    job_call("insert-codes", &run, json!({}))
}

pub(super) async fn verify(world: &World) -> Call {
    let run = import_at(world, State::Verify).await;
    Call::step("verify-import", json!({ "job_id": run.job }))
}

fn close_call(run: &Run, more: Value) -> Call {
    job_call("close-import", run, json!({ "execution_arn": run.execution_arn })).with(more)
}

pub(super) async fn close(world: &World) -> Call {
    close_call(&import_at(world, State::Close).await, json!({}))
}

pub(super) async fn close_empty(world: &World) -> Call {
    world.add_codes(&["A"]).await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::CloseEmpty).await.expect(State::CloseEmpty);
    close_call(&run, json!({ "note": "No clean codes to insert: all staged codes are duplicates" }))
}

/// As the state machine calls it after an error: without the job.
fn stopped(run: &Run, error: &str) -> Call {
    let cause = json!({ "errorType": error, "errorMessage": "it is broken" }).to_string();
    let error = json!({ "Error": error, "Cause": cause });
    Call::step("close-import", json!({ "execution_arn": run.execution_arn, "error": error }))
}

pub(super) async fn close_failed(world: &World) -> Call {
    stopped(&import_at(world, State::Validate).await, "Internal")
}

pub(super) async fn close_cancelled(world: &World) -> Call {
    let run = import_at(world, State::Validate).await;
    run.cancel(&world.actor).await;
    stopped(&run, "Cancelled")
}

pub(super) async fn close_continued(world: &World) -> Call {
    let mut run = import_at(world, State::MarkDuplicates).await;
    for table in
        world.db.column("SELECT tablename FROM pg_tables WHERE schemaname = 'onceload_staging'").await
    {
        world.db.exec(&format!("TRUNCATE onceload_staging.{table}")).await;
    }
    run.step().await.expect_err("staging is lost");
    close_call(&run, json!({ "continued": true }))
}

/// The end hands the lease to an import that waits in line.
pub(super) async fn close_hands_over(world: &World) -> Call {
    let (first, mut second) = two_imports(world).await;
    second.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    stopped(&first, "Internal")
}

fn task_call(task: &MaintenanceTask) -> Call {
    let function = match task.action {
        shared::domain::task::Action::Rollback => "rollback-import",
        shared::domain::task::Action::Export => "export-report",
        shared::domain::task::Action::Verify => "verify-import",
    };
    Call::step(function, json!({ "job_id": task.job, "task_id": task.task }))
}

/// A task of an import that is completed.
async fn task_after_end(world: &World, what: Maintenance) -> MaintenanceTask {
    let run = import_at(world, State::Done).await;
    world.abandon_tasks().await;
    world.start_task(run.job, what).await
}

/// One of the codes has been claimed since.
pub(super) async fn rollback(world: &World) -> Call {
    let run = import_at(world, State::Done).await;
    world.abandon_tasks().await;
    world.db.exec("UPDATE onceload.codes SET claimed = true WHERE code = 'ZULU'").await;
    task_call(&world.start_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await)
}

pub(super) async fn rollback_given_up(world: &World) -> Call {
    let task = task_after_end(world, Maintenance::Rollback(ClaimedCodes::Keep)).await;
    let cause = json!({ "errorType": "Internal", "errorMessage": "it is broken" }).to_string();
    task_call(&task).with(json!({ "error": { "Error": "Internal", "Cause": cause } }))
}

pub(super) async fn verify_task(world: &World) -> Call {
    task_call(&task_after_end(world, Maintenance::Verify).await)
}

pub(super) async fn export_duplicates(world: &World) -> Call {
    task_call(&task_after_end(world, Maintenance::Export(ExportKind::Duplicates)).await)
}

pub(super) async fn export_report(world: &World) -> Call {
    task_call(&task_after_end(world, Maintenance::Export(ExportKind::Report)).await)
}

pub(super) async fn export_rejects(world: &World) -> Call {
    task_call(&task_after_end(world, Maintenance::Export(ExportKind::Rejects)).await)
}

/// One of each: messages that are due, an execution that was stopped, a task whose execution is over, a wait that has expired, staging
/// past its retention.
pub(super) async fn sweep(world: &World) -> Call {
    let mut old = world.import_file("old.csv", "code\nOLD\n");
    old.finish(&world.actor).await.expect(State::Done);
    let mut expired = world.import_file("expired.csv", "code\nEXPIRED\n");
    expired.until(State::InsertCodes).await.expect(State::InsertCodes);
    let mut dead = world.import_file("dead.csv", "code\nDEAD\n");
    dead.until(State::Validate).await.expect(State::Validate);
    let dead = dead.job;
    world
        .db
        .exec(&format!(
            "UPDATE onceload.codes_import_jobs SET execution_arn = execution_arn || '-stopped' WHERE id = '{dead}';
             UPDATE onceload.codes_import_jobs
                SET updated_at = updated_at - interval '8 days', heartbeat_at = heartbeat_at - interval '8 days',
                    finished_at = finished_at - interval '8 days'
              WHERE status <> 'awaiting_approval';
             UPDATE onceload.codes_import_jobs SET awaiting_since = awaiting_since - interval '8 days';
             UPDATE onceload.import_progress SET updated_at = updated_at - interval '8 days';
             UPDATE onceload.import_tasks SET heartbeat_at = heartbeat_at - interval '8 days'",
        ))
        .await;
    Call::step("sweep-imports", json!({}))
}

pub(super) async fn expire_keys(world: &World) -> Call {
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.idempotency_keys (user_id, key, expires_at, fingerprint, response_status)
             SELECT '{}', 'old' || n, now() - interval '1 hour', decode(repeat('00', 32), 'hex'), 201
               FROM generate_series(1, {}) n",
            world.actor.user,
            2 * expire_idempotency_keys::BATCH + 1
        ))
        .await;
    Call::step("expire-idempotency-keys", json!({}))
}
