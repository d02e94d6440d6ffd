//! Lambda environments that were frozen and wake up with dead connections.

use onceload_tests::communities::create;
use onceload_tests::db::{connect, rows};
use onceload_tests::{TestDb, World};
use serde_json::json;
use shared::lambda::Budget;
use shared::lambda::serve::invoke;
use std::time::Duration;

/// Terminates the functions' backends. The test's only thread blocks until they are gone, so its ends of the
/// connections have not noticed, as after a freeze.
fn freeze(db: &TestDb) {
    let url = db.server.admin_url(&db.name);
    let theirs =
        "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'onceload%'";
    let frozen = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let admin = connect(&url).await;
            let ended = rows(&admin, &format!("SELECT pg_terminate_backend(pid) {theirs}")).await;
            assert!(!ended.is_empty(), "nothing was connected");
            while !rows(&admin, &format!("SELECT pid {theirs}")).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    });
    frozen.join().unwrap();
}

#[tokio::test]
async fn a_request_reconnects_after_a_freeze() {
    let world = World::new().await;
    let app = world.app_with_pool(1);
    let coffee = json!({ "name": "Coffee" });
    let first = create(&app, "ada", Some("k"), &coffee).await;
    assert_eq!(first.status, 201, "{first:?}");
    freeze(&world.db);
    let again = create(&app, "ada", Some("k"), &coffee).await;
    assert_eq!((again.status, &again.body), (201, &first.body), "{again:?}");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    freeze(&world.db);
    let second = create(&app, "ada", None, &coffee).await;
    assert_eq!((second.status, &second.body["unique_url"]), (201, &json!("coffee-1")), "{second:?}");
}

#[tokio::test]
async fn a_step_reconnects_after_a_freeze() {
    let world = World::new().await;
    let app = world.app.clone();
    // A long step has two connections.
    let both = (app.db.connection().await.unwrap(), app.db.connection().await.unwrap());
    drop(both);
    // A pooler connects to the server on the first statement.
    app.db.ping().await.unwrap();
    freeze(&world.db);
    let budget = Budget::of(Duration::from_secs(60));
    let swept = invoke(app, json!({}), budget, expire_idempotency_keys::handle).await.unwrap();
    assert!(swept.complete, "{swept:?}");
}
