//! A rollback deletes all of the import's codes or none, and no others.

use import_jobs::maintain::Asked;
use onceload_tests::files::{noise, numbered};
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::maintenance::request_maintenance;
use onceload_tests::reports::read_gzip;
use onceload_tests::{Maintenance, State, World};
use serde_json::json;
use shared::db::tasks;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::task::{ClaimedCodes, ExportKind, TaskStatus};

const KEEP: Maintenance = Maintenance::Rollback(ClaimedCodes::Keep);

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_deletes_the_jobs_codes_and_no_others() {
    let world = World::new().await;
    world.add_codes(&["MINE-BEFORE"]).await;
    let run = world.import_to_end("a.csv", numbered("A", 0..500)).await;
    let other = world.import_to_end("b.csv", numbered("B", 0..300)).await;
    let before = world.read_codes_epoch().await;

    let task = world.start_task(run.job, KEEP).await;
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["phase"]), (&json!("completed"), &json!("rolling_back")));
    assert_eq!(job["leased"], true, "the rollback holds the merchant's lease");
    let result = task.run().await.unwrap();
    assert_eq!(
        result,
        json!({
            "success": true, "job_id": run.job, "codes_deleted": 500, "codes_kept": 0, "original_insert_count": 500,
            "message": format!("Rolled back 500 codes from job {}", run.job), "files": [],
        })
    );
    assert_eq!((world.count_codes_of(run.job).await, world.count_codes_of(other.job).await), (0, 300));
    assert_eq!(world.count_codes().await, 301);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("rolled_back"), &json!(false)));
    assert_eq!((&job["codes_deleted"], &job["codes_kept"]), (&json!(500), &json!(0)));
    assert_eq!(job["merchant_total"], json!(301), "the total is counted again");
    assert!(job["rolled_back_at"].is_string() && job["completed_at"].is_string());
    assert_eq!(world.read_codes_epoch().await, before + 1);
    assert_eq!(
        world.read_outbox(run.job).await,
        ["state_changed", "task_success", "state_changed", "start_maintenance", "state_changed"],
        "the end is announced"
    );

    // Repeat the execution, then the request.
    assert_eq!(task.run().await.unwrap(), result);
    assert_eq!(world.read_codes_epoch().await, before + 1, "done once");
    assert_eq!(world.request_maintenance(run.job, KEEP).await, Asked::WrongState(Status::RolledBack));
    // The codes can be imported again.
    world.import_to_end("again.csv", numbered("A", 0..500)).await;
    assert_eq!(world.count_codes().await, 801);
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_codes_are_kept_and_listed_or_deleted() {
    let world = World::new().await;
    let claim = async |job: JobId| {
        world
            .db
            .exec(&format!(
                "UPDATE onceload.codes SET claimed = true, claimed_customer_id = '=customer ' || code
                  WHERE import_job_id = '{job}' AND right(code, 1) = '7'"
            ))
            .await;
    };
    let kept = world.import_to_end("a.csv", numbered("A", 0..100)).await;
    claim(kept.job).await;
    let result = world.run_task(kept.job, KEEP).await;
    assert_eq!(
        (&result["codes_deleted"], &result["codes_kept"], &result["original_insert_count"]),
        (&json!(90), &json!(10), &json!(100))
    );
    let key = format!("reports/{}/{}/claimed.csv.gz", world.merchant, kept.job);
    assert_eq!(
        result["files"],
        json!([{ "key": key, "name": "claimed.csv.gz", "rows": 10,
                                         "bytes": world.s3.get(&key).unwrap().len() }])
    );
    let text = String::from_utf8(read_gzip(&world, &key)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("code,serial,") && lines[0].ends_with(",claimed_customer_id,kept_because"),
        "{text}"
    );
    assert_eq!(lines.len(), 11);
    assert!(lines[1].starts_with("A000007,") && lines[1].ends_with(",'=customer A000007,claimed"), "{text}");
    let left = world.db.column("SELECT code FROM onceload.codes WHERE claimed ORDER BY 1").await;
    assert_eq!(left.len(), 10);
    assert_eq!(world.count_codes_of(kept.job).await, 10);

    // The codes are deleted before the list is written. Until then the export is active, not missing.
    let listed = async || {
        let connection = world.app.db.connection().await.unwrap();
        let exports = tasks::list_exports(&connection, kept.job).await.unwrap();
        exports
            .into_iter()
            .filter(|export| export.kind == "claimed")
            .map(|export| export.status)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [TaskStatus::Done]);
    world
        .db
        .exec("UPDATE onceload.import_tasks SET status = 'active', result = NULL, finished_at = NULL WHERE action = 'rollback'")
        .await;
    assert_eq!(listed().await, [TaskStatus::Active]);
    world.abandon_tasks().await;

    let deleted = world.import_to_end("b.csv", numbered("B", 0..100)).await;
    claim(deleted.job).await;
    let result = world.run_task(deleted.job, Maintenance::Rollback(ClaimedCodes::Delete)).await;
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(100), &json!(0)));
    assert_eq!(result["files"], json!([]));
    assert_eq!(world.count_codes_of(deleted.job).await, 0);
    assert_eq!(world.count_codes().await, 10);
}

/// An UPDATE moves a row elsewhere in the heap, possibly into space that another job's rollback has freed.
#[tokio::test(flavor = "multi_thread")]
async fn codes_whose_rows_were_updated_are_deleted() {
    let world = World::new().await;
    let first = world.import_to_end("a.csv", noise(20_000)).await;
    let second = world.import_to_end("b.csv", numbered("B", 0..20_000)).await;
    let third = world.import_to_end("c.csv", numbered("C", 0..20_000)).await;
    world.run_task(first.job, KEEP).await;
    for _ in 0..3 {
        world
            .db
            .exec(&format!(
                "UPDATE onceload.codes SET activated = true WHERE import_job_id = '{}' AND code LIKE '%0'",
                second.job
            ))
            .await;
    }
    let result = world.run_task(second.job, KEEP).await;
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(20_000), &json!(0)));
    assert_eq!((world.count_codes_of(second.job).await, world.count_codes_of(third.job).await), (0, 20_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_completed_imports_of_the_callers_merchants_are_rolled_back() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", numbered("A", 0..10));
    for stop in [State::LoadFiles, State::PlanChunks, State::Validate, State::InsertCodes] {
        run.until(stop).await.expect(stop);
        assert!(matches!(world.request_maintenance(run.job, KEEP).await, Asked::WrongState(_)), "{stop:?}");
    }
    run.finish(&world.actor).await.expect(State::Done);
    let stranger = add_member(&world.db, add_merchant(&world.db, "Other").await).await;
    assert_eq!(request_maintenance(&world.app.db, &stranger, run.job, KEEP).await, Asked::NotFound);
    assert_eq!(world.request_maintenance(JobId::generate(), KEEP).await, Asked::NotFound);
    let mut failed = world.import_file("bad.csv", "code,sku\nA,\"\n");
    failed.until(State::Done).await.error();
    assert_eq!(world.request_maintenance(failed.job, KEEP).await, Asked::WrongState(Status::Failed));
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.import_tasks").await, 0);
    assert_eq!(world.count_codes().await, 10);

    // A rollback needs nothing but the codes, even months later without staging.
    world.db.exec("UPDATE onceload.codes_import_jobs SET finished_at = finished_at - interval '5 months' WHERE status = 'completed'").await;
    let swept =
        sweep_imports::handle(world.app.clone(), json!({}), onceload_tests::execution::budget()).await;
    assert_eq!(swept.unwrap().staging_dropped, 1);
    assert_eq!(world.run_task(run.job, KEEP).await["codes_deleted"], 10);
}

/// The import inserted nothing, so there is nothing to delete. It is rolled back all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_inserted_nothing_is_rolled_back() {
    let world = World::new().await;
    world.add_codes(&["A"]).await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::Done).await.expect(State::Done);
    let result = world.run_task(run.job, KEEP).await;
    assert_eq!((&result["codes_deleted"], &result["original_insert_count"]), (&json!(0), &json!(0)));
    assert_eq!((world.read_status(run.job).await.as_str(), world.count_codes().await), ("rolled_back", 1));
}

/// While staging exists, reports can be exported even after the rollback.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_import_can_still_be_exported() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\nA\nB\n".to_owned()).await;
    world.run_task(run.job, KEEP).await;
    let exported = world.run_task(run.job, Maintenance::Export(ExportKind::Report)).await;
    assert_eq!(exported["rows"], 3);
    assert_eq!(
        world.request_maintenance(run.job, Maintenance::Verify).await,
        Asked::WrongState(Status::RolledBack)
    );
}
