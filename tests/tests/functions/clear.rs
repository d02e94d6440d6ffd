//! Staging that is cleared by hand: at once, once, and only where nobody needs it.

use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::upkeep::ask;
use onceload_tests::{Ask, Bench, Run, State};
use serde_json::json;
use shared::db::maintenance::Asked;
use shared::domain::ids::JobId;
use shared::domain::task::ExportKind;

const TABLES: &str = "SELECT count(*) FROM pg_tables WHERE schemaname = 'onceload_staging'";

#[tokio::test(flavor = "multi_thread")]
async fn only_of_imports_that_are_over() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nB\n");
    for stop in [State::LoadFiles, State::PlanChunks, State::Validate, State::InsertCodes] {
        run.until(stop).await.expect(stop);
        assert!(matches!(bench.ask(run.job, Ask::Clear).await, Asked::WrongState(_)), "{stop:?}");
    }
    assert_eq!(bench.db.int(TABLES).await, 2);
    run.finish(&bench.actor).await.expect(State::Done);
    let stranger = add_member(&bench.db, add_merchant(&bench.db, "Other").await).await;
    assert_eq!(ask(&bench.app.db, &stranger, run.job, Ask::Clear).await, Asked::NotFound);
    assert_eq!(bench.ask(JobId::generate(), Ask::Clear).await, Asked::NotFound);
    assert_eq!(bench.db.int(TABLES).await, 2);

    let cleared = Asked::Taken { messages: vec![] };
    assert_eq!(bench.ask(run.job, Ask::Clear).await, cleared);
    assert_eq!(bench.db.int(TABLES).await, 0);
    let at = bench.job(run.job).await["staging_cleared_at"].clone();
    assert!(at.is_string());
    assert_eq!(bench.ask(run.job, Ask::Clear).await, cleared, "twice is once");
    assert_eq!(bench.job(run.job).await["staging_cleared_at"], at);
    assert_eq!(bench.codes().await, 2, "production is not staging");
    // One that never had any.
    let mut refused = bench.request(&[&bench.stage_key("none.csv")]);
    refused.until(State::Done).await.error();
    let id = bench.db.value("SELECT id FROM codes_import_jobs WHERE status = 'failed'").await;
    assert_eq!(bench.ask(JobId(id.parse().unwrap()), Ask::Clear).await, cleared);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_while_it_is_exported() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.finish(&bench.actor).await.expect(State::Done);
    let export = bench.task(run.job, Ask::Export(ExportKind::Report)).await;
    assert_eq!(bench.ask(run.job, Ask::Clear).await, Asked::Exporting);
    export.run().await.unwrap();
    // Somebody reads it by SQL: whoever clears does not wait for them.
    let mut reader = bench.db.connect().await;
    let tx = reader.transaction().await.unwrap();
    tx.batch_execute(&format!("SELECT FROM onceload_staging.b_{}_00", run.job.0.simple())).await.unwrap();
    assert_eq!(bench.ask(run.job, Ask::Clear).await, Asked::Exporting);
    assert_eq!(bench.db.int(TABLES).await, 2);
    assert!(bench.job(run.job).await["staging_cleared_at"].is_null(), "refused as a whole");
    tx.rollback().await.unwrap();
    assert!(matches!(bench.ask(run.job, Ask::Clear).await, Asked::Taken { .. }));
    assert_eq!(bench.db.int(TABLES).await, 0);
}

/// A failed import whose staging was cleared loads everything again when it is retried.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_it_begins_at_the_files() {
    let bench = Bench::new().await;
    let mut failed = bench.request(&[
        &bench.stage("a.csv", "code,points\nA,1\nB,x\nA,3\n"),
        &bench.stage("b.csv", "code,sku\nC,\"\n"),
    ]);
    failed.until(State::Done).await.error();
    assert_eq!(
        bench.db.column("SELECT status FROM import_files ORDER BY file_no").await,
        ["loaded", "failed"]
    );
    assert!(matches!(bench.ask(failed.job, Ask::Clear).await, Asked::Taken { .. }));
    // The fault was S3's, not the file's.
    bench.db.exec("UPDATE import_files SET version_id = NULL, etag = etag WHERE file_no = 2").await;
    bench.s3.remove(&bench.stage_key("b.csv"));
    failed.retry(&bench.actor).await;
    let mut again = Run::of_job(&bench.app, failed.job, 2);
    again.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(again.files, [1, 2], "both");
    let job = bench.job(failed.job).await;
    assert_eq!((&job["staging_cleared_at"], &job["staging_created_at"].is_string()), (&json!(null), &true));
    again.load(1).await.unwrap();
    let staged = format!("SELECT count(*) FROM codes_check_temp('{}')", failed.job);
    assert_eq!(bench.db.int(&staged).await, 2);
    assert_eq!(bench.db.int("SELECT count(*) FROM import_rejects").await, 1, "its rejects are there once");
}

/// Clear against retry, at once: either the retry finds the staging, or it loads anew.
#[tokio::test(flavor = "multi_thread")]
async fn against_a_retry() {
    let bench = Bench::new().await;
    for round in 0..8 {
        let good = bench.stage(&format!("{round}/a.csv"), format!("code\nR{round}\n"));
        let missing = bench.stage(&format!("{round}/b.csv"), "code,sku\nB,\"\n");
        let mut failed = bench.request(&[&good, &missing]);
        failed.until(State::Done).await.error();
        let clearing = {
            let (db, actor, job) = (bench.db.pool(1), bench.actor.clone(), failed.job);
            tokio::spawn(async move { ask(&db, &actor, job, Ask::Clear).await })
        };
        failed.retry(&bench.actor).await;
        let cleared = matches!(clearing.await.unwrap(), Asked::Taken { .. });
        let mut again = Run::of_job(&bench.app, failed.job, 2);
        again.until(State::LoadFiles).await.expect(State::LoadFiles);
        assert_eq!(again.files, if cleared { vec![1, 2] } else { vec![2] }, "cleared: {cleared}");
        again.until(State::Done).await.error();
        assert_eq!(
            bench.db.int(&format!("SELECT count(*) FROM codes_check_temp('{}')", failed.job)).await,
            1
        );
    }
}
