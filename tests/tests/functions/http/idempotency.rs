//! The idempotency wrapper of every keyed POST, tested with communities: one key, one effect.

use onceload_tests::call::Call;
use onceload_tests::communities::{create, post};
use onceload_tests::concurrency::all_at_once;
use onceload_tests::http::{Response, receive, request};
use onceload_tests::{TestDb, World};
use serde_json::{Value, json};
use shared::db::idempotency_keys::{self, Stored};
use shared::domain::idempotency::IdempotencyKey;
use std::process::{Command, Stdio};

/// While a test holds this lock, a create of "Coffee" stops after it has claimed its key and before its commit.
const GATE: &str = "hashtextextended('onceload slug coffee', 0)";
/// True while a create waits at the gate.
const AT_THE_GATE: &str = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn coffee() -> Value {
    json!({ "name": "Coffee", "tags": ["beans"] })
}

async fn close_gate(db: &TestDb) -> tokio_postgres::Client {
    let client = db.connect().await;
    client.batch_execute(&format!("SELECT pg_advisory_lock({GATE})")).await.unwrap();
    client
}

async fn count_communities(db: &TestDb) -> i64 {
    db.int("SELECT count(*) FROM onceload.communities").await
}

fn is_replayed(response: &Response) -> bool {
    response.header("idempotent-replayed") == Some("true")
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_with_one_key_create_one_community() {
    let world = World::new().await;
    let app = world.app_with_pool(64);
    let calls = (0..64).map(|_| {
        let app = app.clone();
        async move { create(&app, "ada", Some("one"), &coffee()).await }
    });
    let answers = all_at_once(calls).await;
    assert!(
        answers.iter().all(|response| response.status == 201 && response.body == answers[0].body),
        "{answers:?}"
    );
    let location = answers[0].header("location");
    assert!(location.is_some() && answers.iter().all(|response| response.header("location") == location));
    assert_eq!(answers.iter().filter(|response| is_replayed(response)).count(), 63);
    assert_eq!(count_communities(&world.db).await, 1);
    assert_eq!(world.db.value("SELECT replays FROM onceload.idempotency_keys").await, "63");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_request_waits_for_the_first() {
    let world = World::new().await;
    let app = world.app_with_pool(4);
    let gate = close_gate(&world.db).await;
    let call = || {
        let app = app.clone();
        tokio::spawn(async move { create(&app, "ada", Some("k"), &coffee()).await })
    };
    let first = call();
    world.db.until("the first is at work", AT_THE_GATE).await;
    let second = call();
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                    AND wait_event = 'transactionid' AND query LIKE '-- idempotency_keys.claim%'";
    world.db.until("the second waits for its key", waits).await;
    drop(gate);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((first.status, is_replayed(&first)), (201, false), "{first:?}");
    assert_eq!((second.status, is_replayed(&second), &second.body), (201, true, &first.body));
    assert_eq!(count_communities(&world.db).await, 1);
}

/// The second request waits ten seconds for the first one's key.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_request_gives_up_waiting_with_409() {
    let world = World::new().await;
    let app = world.app_with_pool(4);
    // To the second request, the first is a claim that is neither committed nor rolled back.
    create(&app, "ada", None, &json!({ "name": "First use" })).await;
    let first = world.db.connect().await;
    first
        .batch_execute(
            "BEGIN; INSERT INTO onceload.idempotency_keys (user_id, key, fingerprint)
             SELECT id, 'k', decode(repeat('00', 32), 'hex') FROM onceload.users WHERE subject = 'ada'",
        )
        .await
        .unwrap();
    let told = create(&app, "ada", Some("k"), &coffee()).await;
    assert_eq!(told.problem().0, 409, "{told:?}");
    assert_eq!(told.body["type"], "urn:onceload:problem:request-in-progress");
    assert!(told.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    first.batch_execute("ROLLBACK").await.unwrap();
    let made = create(&app, "ada", Some("k"), &coffee()).await;
    assert_eq!((made.status, is_replayed(&made)), (201, false), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request_of_one_user() {
    let world = World::new().await;
    let app = &world.app;
    let made = create(app, "ada", Some("k"), &coffee()).await;
    assert_eq!(made.status, 201);
    let id = made.body["community_id"].as_str().unwrap();
    let join = format!("/communities/{id}/join");
    let spaced = coffee().to_string().replace(':', ": ");
    for (path, body) in [
        ("/communities", json!({ "name": "Tea" }).to_string()),
        // The same JSON in other bytes is another request.
        ("/communities", spaced),
        (join.as_str(), String::new()),
    ] {
        let refused = post(app, "ada", path, Some("k"), &body).await;
        assert_eq!(refused.problem().0, 422, "{path} {body}: {refused:?}");
        assert_eq!(refused.body["type"], "urn:onceload:problem:idempotency-key-reused");
    }
    // An invalid request is reported as such, even if its key was used.
    let refused = create(app, "ada", Some("k"), &json!({})).await;
    assert_eq!(refused.problem(), (422, "/name"));
    let other = create(app, "bob", Some("k"), &coffee()).await;
    assert_eq!((other.status, is_replayed(&other)), (201, false), "keys belong to their users");
    assert_ne!(other.body["community_id"], made.body["community_id"]);
    assert!(
        is_replayed(&create(app, "ada", Some("k"), &coffee()).await),
        "the first response is still stored"
    );
    assert_eq!(count_communities(&world.db).await, 2);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.community_members").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires_after_24_hours() {
    let world = World::new().await;
    let first = create(&world.app, "ada", Some("k"), &coffee()).await;
    let age = |interval: &'static str| {
        let sql = format!(
            "UPDATE onceload.idempotency_keys SET created_at = created_at - interval '{interval}',
                    expires_at = expires_at - interval '{interval}'"
        );
        let db = &world.db;
        async move { db.exec(&sql).await }
    };
    age("23 hours 59 minutes").await;
    let day = create(&world.app, "ada", Some("k"), &coffee()).await;
    assert!(is_replayed(&day) && day.body == first.body, "{day:?}");
    age("1 minute").await;
    // An expired key may be used for another request.
    let second = create(&world.app, "ada", Some("k"), &json!({ "name": "Tea" })).await;
    assert_eq!((second.status, is_replayed(&second)), (201, false), "{second:?}");
    assert_eq!(second.body["unique_url"], "tea");
    let third = create(&world.app, "ada", Some("k"), &json!({ "name": "Tea" })).await;
    assert!(is_replayed(&third) && third.body == second.body, "{third:?}");
    let kept =
        "SELECT count(*) || ' ' || min(replays) || ' ' || (min(expires_at) > now() + interval '23 hours')
                  FROM onceload.idempotency_keys";
    assert_eq!(world.db.value(kept).await, "1 1 true");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_requests_are_not_stored() {
    let world = World::new().await;
    let refused = create(&world.app, "ada", Some("k"), &json!({ "name": "" })).await;
    assert_eq!(refused.problem().0, 422);
    // Make the request fail in the middle of its work.
    world.db.exec("ALTER TABLE onceload.community_tags RENAME TO gone").await;
    assert_eq!(create(&world.app, "ada", Some("k"), &coffee()).await.problem().0, 500);
    world.db.exec("ALTER TABLE onceload.gone RENAME TO community_tags").await;
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await, 0);
    assert_eq!(count_communities(&world.db).await, 0);
    let made = create(&world.app, "ada", Some("k"), &coffee()).await;
    assert_eq!((made.status, is_replayed(&made)), (201, false), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_rolls_back_the_key() {
    let world = World::new().await;
    let gate = close_gate(&world.db).await;
    let app = world.app.clone();
    let call = tokio::spawn(async move { create(&app, "ada", Some("k"), &coffee()).await });
    world.db.until("claimed, and not committed", AT_THE_GATE).await;
    world
        .db
        .exec("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        .await;
    let cut = call.await.unwrap();
    assert_eq!(cut.problem().0, 503, "{cut:?}");
    assert!(cut.header("retry-after").is_some());
    drop(gate);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await, 0);
    let made = create(&world.app, "ada", Some("k"), &coffee()).await;
    assert_eq!(
        (made.status, is_replayed(&made), count_communities(&world.db).await),
        (201, false, 1),
        "{made:?}"
    );
}

/// SIGKILL ends the function between its claim and its commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_function_rolls_back_the_key() {
    let world = World::new().await;
    let gate = close_gate(&world.db).await;
    let input =
        Call::request("create-community", "POST", "/communities", "ada", &coffee()).with_key("k").input;
    let mut process = Command::new(env!("CARGO_BIN_EXE_step"))
        .args(["create-community", &input.to_string()])
        .env("DATABASE_URL", world.db.url())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    world.db.until("claimed, and not committed", AT_THE_GATE).await;
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().code(), None, "the process had exited by itself");
    // The next request waits until the server has noticed the kill. Then it is the first.
    let app = world.app.clone();
    let next = tokio::spawn(async move { create(&app, "ada", Some("k"), &coffee()).await });
    drop(gate);
    let made = next.await.unwrap();
    assert_eq!((made.status, is_replayed(&made)), (201, false), "{made:?}");
    assert_eq!(count_communities(&world.db).await, 1);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn quoted_and_invalid_key_headers_are_recognised() {
    let world = World::new().await;
    let first = create(&world.app, "ada", Some("8e03978e"), &coffee()).await;
    let quoted = create(&world.app, "ada", Some("\"8e03978e\""), &coffee()).await;
    assert!(is_replayed(&quoted) && quoted.body == first.body, "bare and quoted are the same: {quoted:?}");
    for (bad, word) in [("k".repeat(256), "too long"), (String::new(), "empty"), ("\"open".into(), "quot")] {
        let refused = create(&world.app, "ada", Some(&bad), &coffee()).await;
        assert_eq!(refused.problem().0, 400, "{bad}: {refused:?}");
        assert!(refused.body["detail"].as_str().unwrap().contains(word), "{bad}: {refused:?}");
    }
    let longest = create(&world.app, "ada", Some(&"k".repeat(255)), &coffee()).await;
    assert_eq!(longest.status, 201, "{longest:?}");
    let mut twice = request("POST", "/communities", Some("ada"), &coffee().to_string());
    for key in ["a", "b"] {
        twice.headers_mut().append("idempotency-key", key.parse().unwrap());
    }
    let refused = receive(create_community::handle(world.app.clone(), twice).await);
    assert_eq!(refused.problem().0, 400, "{refused:?}");
    assert_eq!(count_communities(&world.db).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_every_request_is_executed() {
    let world = World::new().await;
    for expected in ["coffee", "coffee-1"] {
        let made = create(&world.app, "ada", None, &coffee()).await;
        assert_eq!((made.status, &made.body["unique_url"]), (201, &json!(expected)));
        assert!(!is_replayed(&made));
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_claim_is_not_stored() {
    let world = World::new().await;
    let connection = world.app.db.connection().await.unwrap();
    let answer = Stored { status: 201, headers: json!([]), body: Vec::new() };
    let key = IdempotencyKey::parse(b"never claimed").unwrap();
    let stored = idempotency_keys::store(&connection, world.actor.user, &key, &answer).await;
    assert_eq!(stored.unwrap_err().operation, "idempotency_keys.store");
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await, 0);
}
