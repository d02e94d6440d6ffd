//! One key, one deed: the wrapper that every keyed POST goes through, tried with communities.

use crate::communities::{create, post};
use onceload_tests::http::{Said, request, said};
use onceload_tests::{Bench, TestDb};
use serde_json::{Value, json};
use shared::db::idempotency::{self, Stored};
use shared::db::transaction::{Limits, begin};
use shared::domain::idempotency::IdempotencyKey;
use shared::edge::App;
use std::process::{Command, Stdio};
use tokio_postgres::error::SqlState;

/// Held by a test, it stops every create of the name "Coffee" after its key is claimed and before it is committed.
const GATE: &str = "hashtextextended('onceload slug coffee', 0)";
/// A create has come as far as the gate.
const AT_THE_GATE: &str = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn coffee() -> Value {
    json!({ "name": "Coffee", "tags": ["beans"] })
}

async fn gate(db: &TestDb) -> tokio_postgres::Client {
    let client = db.connect().await;
    client.batch_execute(&format!("SELECT pg_advisory_lock({GATE})")).await.unwrap();
    client
}

async fn communities(db: &TestDb) -> i64 {
    db.int("SELECT count(*) FROM communities").await
}

fn replayed(said: &Said) -> bool {
    said.header("idempotent-replayed") == Some("true")
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_with_one_key() {
    let bench = Bench::new().await;
    let app = App { db: bench.db.pool(64), ..bench.app.clone() };
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let app = app.clone();
        calls.spawn(async move { create(&app, "ada", Some("one"), &coffee()).await });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|said| said.status == 201 && said.body == answers[0].body), "{answers:?}");
    let location = answers[0].header("location");
    assert!(location.is_some() && answers.iter().all(|said| said.header("location") == location));
    assert_eq!(answers.iter().filter(|said| replayed(said)).count(), 63);
    assert_eq!(communities(&bench.db).await, 1);
    assert_eq!(bench.db.value("SELECT replays FROM idempotency_keys").await, "63");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_waits_for_the_first() {
    let bench = Bench::new().await;
    let app = App { db: bench.db.pool(4), ..bench.app.clone() };
    let gate = gate(&bench.db).await;
    let call = || {
        let app = app.clone();
        tokio::spawn(async move { create(&app, "ada", Some("k"), &coffee()).await })
    };
    let first = call();
    bench.db.until("the first is at work", AT_THE_GATE).await;
    let second = call();
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                    AND wait_event = 'transactionid' AND query LIKE '-- idempotency_keys.claim%'";
    bench.db.until("the second waits for its key", waits).await;
    drop(gate);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((first.status, replayed(&first)), (201, false), "{first:?}");
    assert_eq!((second.status, replayed(&second), &second.body), (201, true, &first.body));
    assert_eq!(communities(&bench.db).await, 1);
}

/// Ten seconds, the longest wait there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_does_not_wait_for_ever() {
    let bench = Bench::new().await;
    let app = App { db: bench.db.pool(4), ..bench.app.clone() };
    // The first request as the second sees it: a claim that is neither committed nor gone.
    create(&app, "ada", None, &json!({ "name": "First use" })).await;
    let first = bench.db.connect().await;
    first
        .batch_execute(
            "BEGIN; INSERT INTO idempotency_keys (user_id, key, fingerprint)
             SELECT id, 'k', decode(repeat('00', 32), 'hex') FROM users WHERE subject = 'ada'",
        )
        .await
        .unwrap();
    let told = create(&app, "ada", Some("k"), &coffee()).await;
    assert_eq!(told.problem().0, 409, "{told:?}");
    assert_eq!(told.body["type"], "urn:onceload:problem:request-in-progress");
    assert!(told.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    first.batch_execute("ROLLBACK").await.unwrap();
    let made = create(&app, "ada", Some("k"), &coffee()).await;
    assert_eq!((made.status, replayed(&made)), (201, false), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request_of_one_user() {
    let bench = Bench::new().await;
    let app = &bench.app;
    let made = create(app, "ada", Some("k"), &coffee()).await;
    assert_eq!(made.status, 201);
    let id = made.body["community_id"].as_str().unwrap();
    let join = format!("/communities/{id}/join");
    let spaced = coffee().to_string().replace(':', ": ");
    for (path, body) in [
        ("/communities", json!({ "name": "Tea" }).to_string()),
        // The same to a reader, but other bytes.
        ("/communities", spaced),
        (join.as_str(), String::new()),
    ] {
        let refused = post(app, "ada", path, Some("k"), &body).await;
        assert_eq!(refused.problem().0, 422, "{path} {body}: {refused:?}");
        assert_eq!(refused.body["type"], "urn:onceload:problem:idempotency-key-reused");
    }
    // A request that is wrong in itself is told so first.
    let refused = create(app, "ada", Some("k"), &json!({})).await;
    assert_eq!(refused.problem(), (422, "/name"));
    let other = create(app, "bob", Some("k"), &coffee()).await;
    assert_eq!((other.status, replayed(&other)), (201, false), "another user's key is another key");
    assert_ne!(other.body["community_id"], made.body["community_id"]);
    assert!(replayed(&create(app, "ada", Some("k"), &coffee()).await), "it still stands");
    assert_eq!(communities(&bench.db).await, 2);
    assert_eq!(bench.db.int("SELECT count(*) FROM community_members").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires() {
    let bench = Bench::new().await;
    let first = create(&bench.app, "ada", Some("k"), &coffee()).await;
    let age = |interval: &'static str| {
        let sql = format!(
            "UPDATE idempotency_keys SET created_at = created_at - interval '{interval}',
                    expires_at = expires_at - interval '{interval}'"
        );
        let db = &bench.db;
        async move { db.exec(&sql).await }
    };
    age("23 hours 59 minutes").await;
    let day = create(&bench.app, "ada", Some("k"), &coffee()).await;
    assert!(replayed(&day) && day.body == first.body, "{day:?}");
    age("1 minute").await;
    // Whatever it was used for before.
    let second = create(&bench.app, "ada", Some("k"), &json!({ "name": "Tea" })).await;
    assert_eq!((second.status, replayed(&second)), (201, false), "{second:?}");
    assert_eq!(second.body["unique_url"], "tea");
    let third = create(&bench.app, "ada", Some("k"), &json!({ "name": "Tea" })).await;
    assert!(replayed(&third) && third.body == second.body, "{third:?}");
    let kept =
        "SELECT count(*) || ' ' || min(replays) || ' ' || (min(expires_at) > now() + interval '23 hours')
                  FROM idempotency_keys";
    assert_eq!(bench.db.value(kept).await, "1 1 true");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_not_stored() {
    let bench = Bench::new().await;
    let refused = create(&bench.app, "ada", Some("k"), &json!({ "name": "" })).await;
    assert_eq!(refused.problem().0, 422);
    // The request itself fails, in the middle of its work.
    bench.db.exec("ALTER TABLE community_tags RENAME TO gone").await;
    assert_eq!(create(&bench.app, "ada", Some("k"), &coffee()).await.problem().0, 500);
    bench.db.exec("ALTER TABLE gone RENAME TO community_tags").await;
    assert_eq!(bench.db.int("SELECT count(*) FROM idempotency_keys").await, 0);
    assert_eq!(communities(&bench.db).await, 0);
    let made = create(&bench.app, "ada", Some("k"), &coffee()).await;
    assert_eq!((made.status, replayed(&made)), (201, false), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_leaves_no_trace() {
    let bench = Bench::new().await;
    let gate = gate(&bench.db).await;
    let app = bench.app.clone();
    let call = tokio::spawn(async move { create(&app, "ada", Some("k"), &coffee()).await });
    bench.db.until("claimed, and not committed", AT_THE_GATE).await;
    bench
        .db
        .exec("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        .await;
    let cut = call.await.unwrap();
    assert_eq!(cut.problem().0, 503, "{cut:?}");
    assert!(cut.header("retry-after").is_some());
    drop(gate);
    assert_eq!(bench.db.int("SELECT count(*) FROM idempotency_keys").await, 0);
    let made = create(&bench.app, "ada", Some("k"), &coffee()).await;
    assert_eq!((made.status, replayed(&made), communities(&bench.db).await), (201, false, 1), "{made:?}");
}

/// kill -9 of the function between its claim and its commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_function_leaves_no_trace() {
    let bench = Bench::new().await;
    let gate = gate(&bench.db).await;
    let input = json!({ "subject": "ada", "key": "k", "body": coffee().to_string() });
    let mut process = Command::new(env!("CARGO_BIN_EXE_step"))
        .args(["create-community", &input.to_string()])
        .env("DATABASE_URL", bench.db.url())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    bench.db.until("claimed, and not committed", AT_THE_GATE).await;
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().code(), None, "it had ended by itself");
    // The next request waits until the server has noticed, and is then the first.
    let app = bench.app.clone();
    let next = tokio::spawn(async move { create(&app, "ada", Some("k"), &coffee()).await });
    drop(gate);
    let made = next.await.unwrap();
    assert_eq!((made.status, replayed(&made)), (201, false), "{made:?}");
    assert_eq!(communities(&bench.db).await, 1);
    assert_eq!(bench.db.int("SELECT count(*) FROM idempotency_keys").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_as_headers() {
    let bench = Bench::new().await;
    let first = create(&bench.app, "ada", Some("8e03978e"), &coffee()).await;
    let quoted = create(&bench.app, "ada", Some("\"8e03978e\""), &coffee()).await;
    assert!(replayed(&quoted) && quoted.body == first.body, "bare and quoted are the same: {quoted:?}");
    for (bad, word) in [("k".repeat(256), "too long"), (String::new(), "empty"), ("\"open".into(), "quot")] {
        let refused = create(&bench.app, "ada", Some(&bad), &coffee()).await;
        assert_eq!(refused.problem().0, 400, "{bad}: {refused:?}");
        assert!(refused.body["detail"].as_str().unwrap().contains(word), "{bad}: {refused:?}");
    }
    let longest = create(&bench.app, "ada", Some(&"k".repeat(255)), &coffee()).await;
    assert_eq!(longest.status, 201, "{longest:?}");
    let mut twice = request("POST", "/communities", Some("ada"), &coffee().to_string());
    for key in ["a", "b"] {
        twice.headers_mut().append("idempotency-key", key.parse().unwrap());
    }
    let refused = said(create_community::handle(bench.app.clone(), twice).await);
    assert_eq!(refused.problem().0, 400, "{refused:?}");
    assert_eq!(communities(&bench.db).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_every_request_counts() {
    let bench = Bench::new().await;
    for expected in ["coffee", "coffee-1"] {
        let made = create(&bench.app, "ada", None, &coffee()).await;
        assert_eq!((made.status, &made.body["unique_url"]), (201, &json!(expected)));
        assert!(!replayed(&made));
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM idempotency_keys").await, 0);
}

/// It is sent together with BEGIN; without one, it would be committed on its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_claimed_in_a_transaction_or_not_at_all() {
    let bench = Bench::new().await;
    let claim =
        format!("SELECT claim_idempotency_key('{}', 'k', decode(repeat('00', 32), 'hex'))", bench.actor.user);
    let refused = bench.db.connect().await.batch_execute(&claim).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION), "{refused:?}");
    assert_eq!(bench.db.int("SELECT count(*) FROM idempotency_keys").await, 0);
}

/// The COMMIT has gone out with the answer, and the server takes a COMMIT after an error without a word.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_stored_commits_nothing() {
    let bench = Bench::new().await;
    let mut connection = bench.app.db.connection().await.unwrap();
    let tx = begin(&mut connection, idempotency::ONCE, idempotency::limits()).await.unwrap();
    tx.batch_execute("INSERT INTO merchants (id, name) VALUES (gen_random_uuid(), 'In Vain')").await.unwrap();
    let answer = Stored { status: 201, headers: json!([]), body: Vec::new() };
    let key = IdempotencyKey::parse(b"never claimed").unwrap();
    let stored = idempotency::commit_answered(tx, bench.actor.user, &key, &answer).await;
    assert_eq!(stored.unwrap_err().statement, "idempotency_keys.store");
    drop(connection);
    assert_eq!(bench.db.int("SELECT count(*) FROM merchants WHERE name = 'In Vain'").await, 0);
}

/// Dropped, a transaction leaves its connection as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_dropped_is_rolled_back() {
    let bench = Bench::new().await;
    let db = bench.db.pool(1);
    let insert = "INSERT INTO merchants (id, name) VALUES (gen_random_uuid(), 'In Vain')";
    let mut connection = db.connection().await.unwrap();
    let mut tx = begin(&mut connection, "test", Limits::short()).await.unwrap();
    tx.batch_execute("INSERT INTO merchants (id, name) VALUES (gen_random_uuid(), 'Kept')").await.unwrap();
    let savepoint = tx.savepoint("dropped").await.unwrap();
    savepoint.batch_execute(insert).await.unwrap();
    drop(savepoint);
    tx.commit().await.unwrap();
    let tx = begin(&mut connection, "test", Limits::short()).await.unwrap();
    tx.batch_execute(insert).await.unwrap();
    drop(tx);
    drop(connection);
    // On the same connection, outside of any transaction: seen by others at once.
    db.connection()
        .await
        .unwrap()
        .batch_execute("UPDATE merchants SET name = 'Seen' WHERE name = 'Kept'")
        .await
        .unwrap();
    assert_eq!(bench.db.column("SELECT name FROM merchants ORDER BY name").await, ["First", "Seen"]);
}
