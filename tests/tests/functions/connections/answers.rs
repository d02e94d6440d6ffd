//! Answers that nobody waits for: a transaction that is dropped, a wait that is given up, a server that falls silent.
//! A transaction-mode pooler must never mix them up with the answer to what is asked next.

use futures_util::FutureExt;
use onceload_tests::proxy::Proxy;
use onceload_tests::{TestDb, World};
use shared::db::{Database, DbError, Limits, Statement, Usage};
use std::time::Duration;
use tokio::time::timeout;

const ADD: Statement = Statement {
    name: "test.add",
    sql: "-- test.add
INSERT INTO onceload.merchants (id, name) VALUES (gen_random_uuid(), $1)",
};
const ECHO: Statement = Statement { name: "test.echo", sql: "-- test.echo\nSELECT $1::bigint AS n" };
const SLEEP: Statement = Statement {
    name: "test.sleep",
    sql: "-- test.sleep\nSELECT pg_sleep(0.05)::text AS slept, $1::bigint AS n",
};
const NAMES: &str = "SELECT name FROM onceload.merchants ORDER BY name";
/// Longer than any of these may take, even on a busy machine.
const FOR_EVER: Duration = Duration::from_secs(60);

async fn echo(on: &dyn shared::db::Session, n: i64) -> i64 {
    let row = timeout(FOR_EVER, ECHO.one(on, &[&n])).await.expect("an answer").expect("echo");
    row.get("n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transaction_is_rolled_back_before_its_connection_is_used_again() {
    let db = TestDb::new().await;
    let pool = db.pool(1);
    let mut connection = pool.connection().await.unwrap();
    let tx = connection.begin("test", Limits::short()).await.unwrap();
    ADD.run_one(&tx, &[&"In Vain"]).await.unwrap();
    drop(tx);
    assert_eq!(echo(&connection, 7).await, 7);
    ADD.run_one(&connection, &[&"Kept"]).await.unwrap();
    assert_eq!(db.column(NAMES).await, ["Kept"]);

    let tx = connection.begin("test", Limits::short()).await.unwrap();
    ADD.run_one(&tx, &[&"In Vain"]).await.unwrap();
    drop(tx);
    drop(connection);
    assert_eq!(echo(&pool.connection().await.unwrap(), 8).await, 8);
    assert_eq!(db.column(NAMES).await, ["Kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_does_not_go_on_after_its_savepoint_was_dropped() {
    let db = TestDb::new().await;
    let pool = db.pool(1);
    let mut connection = pool.connection().await.unwrap();
    let mut tx = connection.begin("test", Limits::short()).await.unwrap();
    let savepoint = tx.savepoint("dropped").await.unwrap();
    ADD.run_one(&savepoint, &[&"In Vain"]).await.unwrap();
    drop(savepoint);
    let error = tx.commit().await.unwrap_err();
    assert!(!error.is_transient(), "a defect is not repeated: {error:?}");
    drop(connection);
    assert!(db.column(NAMES).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_savepoint_leaves_its_transaction_as_it_was() {
    let db = TestDb::new().await;
    let pool = db.pool(1);
    let mut connection = pool.connection().await.unwrap();
    let mut tx = connection.begin("test", Limits::short()).await.unwrap();
    ADD.run_one(&tx, &[&"Kept"]).await.unwrap();
    let savepoint = tx.savepoint("undone").await.unwrap();
    ADD.run_one(&savepoint, &[&"In Vain"]).await.unwrap();
    savepoint.rollback().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(db.column(NAMES).await, ["Kept"]);
}

/// Eight at a time, a thousand in all. PgBouncer 1.18 gives the server away at the end of a transaction, and drops the
/// answers to whatever was sent behind it.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_lost_after_a_thousand_dropped_transactions() {
    let db = TestDb::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let pool = db.pool(1);
        tasks.spawn(async move {
            for round in 0..125 {
                let n = task * 1000 + round;
                let mut connection = pool.connection().await.expect("a connection");
                let begun = timeout(FOR_EVER, connection.begin("test", Limits::short())).await;
                let tx = begun.expect("an answer").expect("a transaction");
                assert_eq!(echo(&tx, n).await, n);
                match round % 4 {
                    // An error first, as when an index refuses a row.
                    0 => assert!(ECHO.one(&tx, &[&"no number"]).await.is_err()),
                    // An answer that is still on its way: the statement is sent, and given up before it can come.
                    1 => assert!(SLEEP.one(&tx, &[&n]).now_or_never().is_none()),
                    2 => tx.keep_alive().await.expect("an answer"),
                    _ => {}
                }
                drop(tx);
                match round % 4 {
                    // Its answer was given up: the connection is closed, and never used again.
                    1 => assert!(ECHO.one(&connection, &[&n]).await.is_err_and(|error| error.is_transient())),
                    _ => assert_eq!(echo(&connection, n + 1).await, n + 1),
                }
                drop(connection);
                assert_eq!(echo(&pool.connection().await.expect("a connection"), n + 2).await, n + 2);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_outside_a_transaction_before_the_last_answer_has_come() {
    let db = TestDb::new().await;
    let pool = db.pool(1);
    let connection = pool.connection().await.unwrap();
    let (first, second) = tokio::join!(SLEEP.one(&connection, &[&1_i64]), ECHO.one(&connection, &[&2_i64]));
    assert_eq!(first.unwrap().get::<_, i64>("n"), 1);
    assert!(!second.unwrap_err().is_transient(), "a defect");
    assert_eq!(echo(&connection, 3).await, 3);
}

/// A pool that reaches its server through a proxy.
async fn through_proxy(db: &TestDb, usage: Usage) -> (Proxy, Database) {
    let (address, url) = (db.address(), db.url());
    let proxy = Proxy::start(&address).await;
    let url = url.replace(&address, &proxy.address());
    let pool = Database::new(&url, usage, None).unwrap();
    (proxy, pool)
}

fn assert_gave_up_waiting(outcome: Result<(), DbError>) {
    let error = outcome.expect_err("no answer");
    assert!(error.is_transient() && error.cause.to_string().contains("no answer"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_transient_within_the_patience_of_the_function() {
    let db = TestDb::new().await;
    let usage = Usage { connections: 1, patience: Duration::from_millis(300) };
    let (proxy, pool) = through_proxy(&db, usage).await;
    let mut connection = pool.connection().await.unwrap();
    assert_eq!(echo(&connection, 1).await, 1);

    proxy.set_silent(true);
    assert_gave_up_waiting(ECHO.one(&connection, &[&2_i64]).await.map(drop));
    proxy.set_silent(false);
    // The answer to the statement before must not be taken for the answer to the next.
    assert!(ECHO.one(&connection, &[&3_i64]).await.is_err_and(|error| error.is_transient()));
    drop(connection);
    connection = pool.connection().await.unwrap();
    assert_eq!(echo(&connection, 4).await, 4);

    proxy.set_silent(true);
    assert_gave_up_waiting(connection.begin("test", Limits::short()).await.map(drop));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_in_a_transaction_is_transient_soon_after_the_limit_of_its_statements() {
    let db = TestDb::new().await;
    let (proxy, pool) = through_proxy(&db, Usage::step(1)).await;
    let mut connection = pool.connection().await.unwrap();
    let limits = Limits { statement: Duration::from_millis(100), ..Limits::short() };
    let tx = connection.begin("test", limits).await.unwrap();
    proxy.set_silent(true);
    assert_gave_up_waiting(ADD.run_one(&tx, &[&"In Vain"]).await);
    drop(tx);
    proxy.set_silent(false);
    drop(connection);
    assert_eq!(echo(&pool.connection().await.unwrap(), 1).await, 1);
    assert!(db.column(NAMES).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_silent_server_is_answered_with_503() {
    let world = World::new().await;
    let (proxy, pool) = through_proxy(&world.db, Usage::http()).await;
    let app = shared::lambda::App { db: pool, ..world.app.clone() };
    let coffee = serde_json::json!({ "name": "Coffee" });
    assert_eq!(onceload_tests::communities::create(&app, "ada", None, &coffee).await.status, 201);
    proxy.set_silent(true);
    let refused = onceload_tests::communities::create(&app, "ada", None, &coffee).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")), "{refused:?}");
}

#[test]
fn every_mode_of_libpq_that_checks_is_understood() {
    for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
        let url = format!("postgres://user:password@db.example:5432/name?sslmode={mode}");
        assert!(Database::new(&url, Usage::http(), None).is_ok(), "{mode}");
    }
    assert!(Database::new("postgres://db.example/name?sslmode=none", Usage::http(), None).is_err());
}
