//! VACUUM after an import: it works when the import holds nothing any more, and waits for nobody.

use onceload_tests::db::TestDb;
use onceload_tests::{State, World, wait};
use serde_json::json;
use shared::db::codes;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_import_ends_and_is_tidied_up_while_another_vacuum_holds_the_table() {
    let world = World::new().await;
    let other = world.db.connect().await;
    // The lock of VACUUM, of ANALYZE, and of one against wraparound, which nothing cancels.
    other.batch_execute("BEGIN; LOCK TABLE onceload.codes IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\n").await;
    run.approve(&world.actor).await;
    run.until(State::TidyUp).await.expect(State::TidyUp);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("completed"), &json!(false)));
    assert_eq!(job["verification"]["verified"], true);
    assert_eq!(job["merchant_total"], json!(2));
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["merchant_total"], 2);
    other.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_lets_the_next_marking_read_the_index_alone() {
    let world = World::new().await;
    world.import_to_end("a.csv", "code\nA\nB\n").await;
    let visible = "SELECT relallvisible FROM pg_class WHERE oid = onceload.codes_table()";
    assert_eq!(world.db.int(visible).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_takes_too_long_is_stopped_on_the_server() {
    let db = TestDb::new().await;
    // It sleeps after each page.
    for setting in ["vacuum_cost_delay = '100ms'", "vacuum_cost_limit = 1"] {
        let set = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {}', current_database()); END $$",
            setting.replace('\'', "''")
        );
        db.exec(&set).await;
    }
    let world = World::with_database(db).await;
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.codes (merchant_id, code) SELECT '{}', lpad(n::text, 200, '0') FROM generate_series(1, 5000) n",
            world.merchant
        ))
        .await;
    let slow = codes::vacuum(&world.app.db, Duration::from_secs(2)).await;
    assert!(slow.unwrap_err().is_transient());
    let at_work = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE '-- codes.vacuum%' AND state = 'active'";
    let gone = async || (world.db.int(at_work).await == 0).then_some(());
    wait::until("the end of VACUUM", Duration::from_millis(10), gone).await;
}
