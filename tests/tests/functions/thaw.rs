//! An environment that was frozen wakes up with connections that have died meanwhile.

use crate::communities::create;
use onceload_tests::db::{connect, rows};
use onceload_tests::{Bench, TestDb};
use serde_json::json;
use shared::edge::serve::invoke;
use shared::edge::{App, Budget};
use std::time::Duration;

/// Ends the functions' backends. The test's one thread stands still until they are gone, so that its end of the
/// connections has noticed nothing: as after a freeze.
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
async fn a_request_connects_again() {
    let bench = Bench::new().await;
    let app = App { db: bench.db.pool(1), ..bench.app.clone() };
    let coffee = json!({ "name": "Coffee" });
    let first = create(&app, "ada", Some("k"), &coffee).await;
    assert_eq!(first.status, 201, "{first:?}");
    freeze(&bench.db);
    let again = create(&app, "ada", Some("k"), &coffee).await;
    assert_eq!((again.status, &again.body), (201, &first.body), "{again:?}");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    freeze(&bench.db);
    let second = create(&app, "ada", None, &coffee).await;
    assert_eq!((second.status, &second.body["unique_url"]), (201, &json!("coffee-1")), "{second:?}");
}

#[tokio::test]
async fn a_step_connects_again() {
    let bench = Bench::new().await;
    let app = bench.app.clone();
    // Two, as a long step has them.
    let both = (app.db.connection().await.unwrap(), app.db.connection().await.unwrap());
    drop(both);
    // A pooler connects when it is asked something.
    app.db.ping().await.unwrap();
    freeze(&bench.db);
    let budget = Budget::of(Duration::from_secs(60));
    let swept = invoke(app, json!({}), budget, expire_idempotency_keys::handle).await.unwrap();
    assert!(swept.complete, "{swept:?}");
}
