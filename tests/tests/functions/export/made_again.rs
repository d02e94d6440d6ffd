//! A restart of the server after the insert empties staging. An export loads the files again and marks them as they were marked.

use onceload_tests::concurrency::all_at_once;
use onceload_tests::reports::read_gzip;
use onceload_tests::server::PrivateServer;
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;
use shared::domain::task::{Action, ExportKind};

const DUPLICATES: Maintenance = Maintenance::Export(ExportKind::Duplicates);
const REPORT: Maintenance = Maintenance::Export(ExportKind::Report);

/// A completed import of two files in three buckets, with duplicates of every kind and a reject.
async fn import(world: &World) -> Run {
    world.add_codes(&["BOTH", "OLD"]).await;
    let first = world.upload("1.csv", "code,points,price\nNEW,1,1.50\nOLD,2,\nTWICE,3,\nBOTH,x,\nBOTH,,\n");
    let second = world.upload("2.csv", "code;sku\nTWICE;\"a;b\"\n\nBOTH;\nTWICE;=1\nZ;z\n");
    let mut run = world.import_objects(&[&first, &second]);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["NEW", "TWICE"]).await;
    run.finish(&world.actor).await.expect(State::Done);
    world.abandon_tasks().await;
    run
}

/// Both reports as text.
async fn export(world: &World, run: &Run) -> [String; 2] {
    let mut texts = [const { String::new() }; 2];
    for (text, (what, name)) in texts.iter_mut().zip([(DUPLICATES, "duplicates"), (REPORT, "report")]) {
        world.run_task(run.job, what).await;
        let key = format!("reports/{}/{}/{name}.csv.gz", world.merchant, run.job);
        *text = String::from_utf8(read_gzip(world, &key)).unwrap();
        world.s3.remove(&key);
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_the_same_after_staging_was_lost() {
    let world = World::new().await;
    let run = import(&world).await;
    let before = export(&world, &run).await;
    assert_eq!(before.each_ref().map(|text| text.lines().count()), [6, 9]);
    // What others do in production later changes nothing.
    world.add_codes(&["LATER"]).await;
    world.lose_staging().await;
    assert_eq!(export(&world, &run).await, before);
    assert_eq!(world.count_staged(run.job).await, 8, "for whoever looks into it");
    let tables = "SELECT string_agg(format('onceload_staging.%I', tablename), ',') FROM pg_tables WHERE schemaname = 'onceload_staging'";
    let tables = world.db.value(tables).await;
    world.db.exec(&format!("DROP TABLE {tables}")).await;
    assert_eq!(export(&world, &run).await, before);
    assert_eq!(world.count_codes().await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_that_cannot_be_made_as_it_was_fails_the_export() {
    for (change, why) in [
        ("the file is gone", "missing_object"),
        ("DELETE FROM onceload.codes WHERE code = 'NEW'", "no longer in production"),
        ("UPDATE onceload.codes SET import_job_id = NULL WHERE code = 'Z'", "no longer in production"),
        (
            "UPDATE onceload.codes_import_jobs SET late_duplicates = 1, codes_inserted = codes_inserted - 1",
            " gave 0 rows",
        ),
    ] {
        let world = World::new().await;
        let run = import(&world).await;
        match change {
            "the file is gone" => world.s3.remove(&world.key_under_stage("2.csv")),
            sql => world.db.exec(sql).await,
        }
        world.lose_staging().await;
        let task = world.start_task(run.job, DUPLICATES).await;
        let error = task.run().await.unwrap_err();
        assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
        assert!(error.message.contains(why), "{change}: {error}");
        assert!(error.message.contains("the files still hold every row"), "{error}");
        assert!(!world.s3.keys().iter().any(|key| key.starts_with("reports/")), "{change}");
        assert_eq!(world.count_staged(run.job).await, 0, "half of it would look like staging");
    }
}

/// Both find staging empty. One makes it; the other one is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn two_exports_make_staging_one_at_a_time() {
    let world = World::new().await;
    let run = import(&world).await;
    world.lose_staging().await;
    let tasks = [world.start_task(run.job, DUPLICATES).await, world.start_task(run.job, REPORT).await];
    let exports = tasks.iter().map(|task| {
        let task = task.with_own_connections(&world);
        async move {
            loop {
                match task.run().await {
                    Err(error) if error.kind == StepErrorKind::Transient => {}
                    result => return result,
                }
            }
        }
    });
    let results = all_at_once(exports).await;
    let rows: Vec<_> = results.into_iter().map(|result| result.unwrap()["rows"].clone()).collect();
    assert_eq!(rows, [json!(5), json!(8)]);
}

/// A real server is killed after the insert has committed, and recovers.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_insert_loses_no_report() {
    let mut server = PrivateServer::start().await;
    let mut world = World::with_database(server.server().create_database().await).await;
    world.add_codes(&["OLD"]).await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nOLD\nA\n").await;
    run.approve(&world.actor).await;
    run.until(State::Verify).await.expect(State::Verify);
    server.crash().await;
    server.run().await;
    world.db.reconnect().await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_staged(run.job).await, 0, "unlogged");
    let result = world.find_task(run.job, Action::Export).await.run().await.unwrap();
    assert_eq!((&result["kind"], &result["rows"]), (&json!("duplicates"), &json!(2)));
}
