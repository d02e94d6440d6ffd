//! Clearing staging on request: allowed once the import has ended and while nothing reads it.

use import_jobs::maintain::Asked;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::maintenance::request_maintenance;
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::json;
use shared::db::outbox::Promises;
use shared::domain::ids::JobId;
use shared::domain::task::ExportKind;

const TABLES: &str = "SELECT count(*) FROM pg_tables WHERE schemaname = 'onceload_staging'";

#[tokio::test(flavor = "multi_thread")]
async fn staging_is_cleared_only_after_the_import_has_ended() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\n");
    for stop in [State::LoadFiles, State::PlanChunks, State::Validate, State::InsertCodes] {
        run.until(stop).await.expect(stop);
        assert!(
            matches!(world.request_maintenance(run.job, Maintenance::Clear).await, Asked::WrongState(_)),
            "{stop:?}"
        );
    }
    assert_eq!(world.db.int(TABLES).await, 2);
    run.finish(&world.actor).await.expect(State::Done);
    let stranger = add_member(&world.db, add_merchant(&world.db, "Other").await).await;
    assert_eq!(
        request_maintenance(&world.app.db, &stranger, run.job, Maintenance::Clear).await,
        Asked::NotFound
    );
    assert_eq!(world.request_maintenance(JobId::generate(), Maintenance::Clear).await, Asked::NotFound);
    assert_eq!(world.db.int(TABLES).await, 2);

    let cleared = Asked::Taken { promises: Promises::none() };
    assert_eq!(world.request_maintenance(run.job, Maintenance::Clear).await, cleared);
    assert_eq!(world.db.int(TABLES).await, 0);
    let at = world.read_job(run.job).await["staging_cleared_at"].clone();
    assert!(at.is_string());
    assert_eq!(
        world.request_maintenance(run.job, Maintenance::Clear).await,
        cleared,
        "a repeated request gets the same response"
    );
    assert_eq!(world.read_job(run.job).await["staging_cleared_at"], at);
    assert_eq!(world.count_codes().await, 2, "production is not staging");
    // This import never had staging.
    let mut refused = world.import_objects(&[&world.key_under_stage("none.csv")]);
    refused.until(State::Done).await.error();
    let id = world.db.value("SELECT id FROM onceload.codes_import_jobs WHERE status = 'failed'").await;
    assert_eq!(world.request_maintenance(JobId(id.parse().unwrap()), Maintenance::Clear).await, cleared);
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_is_not_cleared_while_it_is_read() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    let export = world.start_task(run.job, Maintenance::Export(ExportKind::Report)).await;
    assert_eq!(world.request_maintenance(run.job, Maintenance::Clear).await, Asked::Exporting);
    export.run().await.unwrap();
    // A person reads staging by SQL; the clear is refused and does not wait.
    let mut reader = world.db.connect().await;
    let tx = reader.transaction().await.unwrap();
    tx.batch_execute(&format!("SELECT FROM onceload_staging.b_{}_00", run.job.0.simple())).await.unwrap();
    assert_eq!(world.request_maintenance(run.job, Maintenance::Clear).await, Asked::Exporting);
    assert_eq!(world.db.int(TABLES).await, 2);
    assert!(world.read_job(run.job).await["staging_cleared_at"].is_null(), "refused as a whole");
    tx.rollback().await.unwrap();
    assert!(matches!(world.request_maintenance(run.job, Maintenance::Clear).await, Asked::Taken { .. }));
    assert_eq!(world.db.int(TABLES).await, 0);
}

/// The retry of a failed import loads every file again if staging was cleared.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_clearing_loads_every_file_again() {
    let world = World::new().await;
    let mut failed = world.import_objects(&[
        &world.upload("a.csv", "code,points\nA,1\nB,x\nA,3\n"),
        &world.upload("b.csv", "code,sku\nC,\"\n"),
    ]);
    failed.until(State::Done).await.error();
    assert_eq!(
        world.db.column("SELECT status FROM onceload.import_files ORDER BY file_no").await,
        ["loaded", "failed"]
    );
    assert!(matches!(world.request_maintenance(failed.job, Maintenance::Clear).await, Asked::Taken { .. }));
    // Make the second file's fault one of S3.
    world.db.exec("UPDATE onceload.import_files SET version_id = NULL, etag = etag WHERE file_no = 2").await;
    world.s3.remove(&world.key_under_stage("b.csv"));
    failed.retry(&world.actor).await;
    let mut again = Run::of_job(&world.app, failed.job, 2);
    again.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(again.files, [1, 2], "both");
    let job = world.read_job(failed.job).await;
    assert_eq!((&job["staging_cleared_at"], &job["staging_created_at"].is_string()), (&json!(null), &true));
    again.load(1).await.unwrap();
    assert_eq!(world.count_staged(failed.job).await, 2);
    assert_eq!(
        world.db.int("SELECT count(*) FROM onceload.import_rejects").await,
        1,
        "its rejects are there once"
    );
}

/// A clear and a retry race: either the retry finds staging, or it loads every file again.
#[tokio::test(flavor = "multi_thread")]
async fn a_clear_that_races_a_retry_leaves_consistent_staging() {
    let world = World::new().await;
    for round in 0..8 {
        let good = world.upload(&format!("{round}/a.csv"), format!("code\nR{round}\n"));
        let missing = world.upload(&format!("{round}/b.csv"), "code,sku\nB,\"\n");
        let mut failed = world.import_objects(&[&good, &missing]);
        failed.until(State::Done).await.error();
        let clearing = {
            let (db, actor, job) = (world.db.pool(1), world.actor.clone(), failed.job);
            tokio::spawn(async move { request_maintenance(&db, &actor, job, Maintenance::Clear).await })
        };
        failed.retry(&world.actor).await;
        let cleared = matches!(clearing.await.unwrap(), Asked::Taken { .. });
        let mut again = Run::of_job(&world.app, failed.job, 2);
        again.until(State::LoadFiles).await.expect(State::LoadFiles);
        assert_eq!(again.files, if cleared { vec![1, 2] } else { vec![2] }, "cleared: {cleared}");
        again.until(State::Done).await.error();
        assert_eq!(world.count_staged(failed.job).await, 1);
    }
}
