//! What the sweep and the nightly clean-up delete by age, and what stays.

use import_jobs::maintain::Asked;
use onceload_tests::execution::budget;
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::json;
use shared::db::rejects;
use shared::domain::ids::JobId;
use shared::domain::task::{Action, ExportKind};

const REJECTS: &str = "SELECT count(*) FROM onceload.import_rejects";

async fn sweep(world: &World) -> sweep_imports::Output {
    sweep_imports::handle(world.app.clone(), json!({}), budget()).await.unwrap()
}

async fn clean_up(world: &World) -> expire_idempotency_keys::Output {
    expire_idempotency_keys::handle(world.app.clone(), json!({}), budget()).await.unwrap()
}

async fn clear(world: &World, job: JobId) {
    assert!(matches!(world.request_maintenance(job, Maintenance::Clear).await, Asked::Taken { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_go_when_staging_is_cleared_and_their_counts_and_their_file_stay() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code,points\nA,1\nB,x\nC,y\n").await;
    clear(&world, run.job).await;
    assert_eq!(
        sweep(&world).await.rejects_deleted,
        0,
        "the export that the end of the import has asked for needs them"
    );
    let export = world.find_task(run.job, Action::Export).await.run().await.unwrap();
    assert_eq!(export["rows"], 2);
    assert_eq!(sweep(&world).await.rejects_deleted, 2);
    assert_eq!(world.db.int(REJECTS).await, 0);

    let asked = world.request_maintenance(run.job, Maintenance::Export(ExportKind::Rejects)).await;
    assert_eq!(asked, Asked::StagingCleared);
    let verified = world.run_task(run.job, Maintenance::Verify).await;
    assert_eq!((&verified["verified"], &verified["problems"]), (&json!(true), &json!([])));
    let shown = world.show(run.job).await;
    assert_eq!(shown["rejected_by_reason"], json!({ "invalid_points": 2 }));
    let key = export["files"][0]["key"].as_str().unwrap();
    assert!(world.app.objects().head(key, None).await.unwrap().is_ok(), "the file is the bucket's to delete");
    // The counts are still checked.
    world.db.exec("UPDATE onceload.import_files SET rejected_by_reason = '{\"invalid_points\": 1}'").await;
    assert_eq!(world.run_task(run.job, Maintenance::Verify).await["verified"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_past_the_retention_of_staging_are_deleted_in_batches() {
    let world = World::new().await;
    let old = world.import_to_end("a.csv", "code,points\nA,1\nB,x\n").await;
    let young = world.import_to_end("b.csv", "code,points\nC,1\nD,x\n").await;
    world.abandon_tasks().await;
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.import_rejects (job_id, record_number, line_number, file_no, file, reason, raw)
             SELECT '{0}', n, n, 1, 'a.csv', 'too_long', 'x' FROM generate_series(1000, 3499) n;
             UPDATE onceload.codes_import_jobs SET finished_at = now() - interval '8 days' WHERE id = '{0}'",
            old.job
        ))
        .await;
    let swept = sweep(&world).await;
    assert_eq!((swept.staging_dropped, swept.rejects_deleted), (1, 2501));
    assert_eq!(
        world.db.column("SELECT DISTINCT job_id FROM onceload.import_rejects").await,
        [young.job.to_string()]
    );
    assert_eq!(sweep(&world).await.rejects_deleted, 0);
}

/// Of an import that failed and was cleared, a retry has its own rejects.
#[tokio::test(flavor = "multi_thread")]
async fn rejects_of_a_retry_stay_though_staging_was_cleared_before() {
    let world = World::new().await;
    let mut failed = world.import_objects(&[
        &world.upload("a.csv", "code,points\nA,1\nB,x\n"),
        &world.upload("b.csv", "code,sku\nC,\"\n"),
    ]);
    failed.until(State::Done).await.error();
    clear(&world, failed.job).await;
    failed.retry(&world.actor).await;
    let delete = async || {
        let connection = world.app.db.connection().await.unwrap();
        rejects::delete_expired(&connection, failed.job, 1000).await.unwrap()
    };
    assert_eq!(delete().await, 0, "the retry has begun");
    let mut again = Run::of_job(&world.app, failed.job, 2);
    again.until(State::LoadFiles).await.expect(State::LoadFiles);
    again.load(1).await.unwrap();
    assert_eq!((sweep(&world).await.rejects_deleted, delete().await), (0, 0));
    assert_eq!(world.db.int(REJECTS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_delivered_or_given_up_are_deleted_after_a_week() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    world
        .db
        .exec(&format!(
            "TRUNCATE onceload.outbox;
             INSERT INTO onceload.outbox (job_id, kind, payload, created_at, delivered_at, given_up_at)
             SELECT '{}', 'state_changed', '{{}}', now() - age, delivered, given_up
               FROM (VALUES (interval '8 days', now(), NULL), (interval '8 days', NULL, now()), (interval '6 days', now(), NULL),
                            (interval '8 days', NULL, NULL)) AS message(age, delivered, given_up)",
            run.job
        ))
        .await;
    assert_eq!(clean_up(&world).await.messages, 2);
    assert_eq!(
        world.db.int("SELECT count(*) FROM onceload.outbox").await,
        2,
        "a young one, and one that is still tried"
    );
    assert_eq!(clean_up(&world).await.messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_a_later_one_has_replaced_are_deleted_after_a_week() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    let shown = |tasks: &[&str]| tasks.iter().map(|task| (*task).to_owned()).collect::<Vec<_>>();
    world
        .db
        .exec(&format!(
            "TRUNCATE onceload.import_tasks;
             INSERT INTO onceload.import_tasks (job_id, requested_at, finished_at, action, kind, status, result, error_message)
             SELECT '{}', now() - age, CASE WHEN status <> 'active' THEN now() - age END, action, kind, status,
                    CASE WHEN status = 'done' THEN to_jsonb(name) END, CASE WHEN status = 'failed' THEN name END
               FROM (VALUES (interval '30 days', 'export', 'report', 'done', 'replaced'),
                            (interval '20 days', 'export', 'report', 'failed', 'replaced'),
                            (interval '10 days', 'export', 'report', 'done', 'latest done'),
                            (interval '9 days', 'export', 'report', 'failed', 'replaced'),
                            (interval '8 days', 'export', 'report', 'failed', 'latest failure'),
                            (interval '1 minute', 'export', 'report', 'active', 'active'),
                            (interval '30 days', 'export', 'rejects', 'done', 'of another kind'),
                            (interval '6 days', 'verify', NULL, 'done', 'young'),
                            (interval '1 day', 'verify', NULL, 'done', 'younger')) AS task(age, action, kind, status, name)",
            run.job
        ))
        .await;
    assert_eq!(clean_up(&world).await.tasks, 3);
    let left = "SELECT coalesce(result #>> '{}', error_message, status) FROM onceload.import_tasks ORDER BY requested_at";
    assert_eq!(
        world.db.column(left).await,
        shown(&["of another kind", "latest done", "latest failure", "young", "younger", "active"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_progress_of_a_job_is_deleted_a_day_after_its_end() {
    let world = World::new().await;
    let ended = world.import_to_end("a.csv", "code\nA\n").await;
    let waiting = world.import_until_approval("b.csv", "code\nB\n").await;
    world
        .db
        .exec(&format!(
            "TRUNCATE onceload.import_progress;
             INSERT INTO onceload.import_progress (job_id, step, part, attempt, updated_at)
             VALUES ('{0}', 'load', 1, 1, now() - interval '2 days'), ('{0}', 'rollback', 0, 1, now()),
                    ('{1}', 'load', 1, 1, now() - interval '2 days');
             UPDATE onceload.codes_import_jobs SET finished_at = now() - interval '2 days' WHERE id = '{0}'",
            ended.job, waiting.job
        ))
        .await;
    assert_eq!(clean_up(&world).await.progress, 1);
    let left = "SELECT step FROM onceload.import_progress ORDER BY step";
    assert_eq!(
        world.db.column(left).await,
        ["load", "rollback"],
        "of a job that waits, and of a task at work"
    );
}
