//! The database is away, read-only, or has no connection left: what a step and a request make of it, and what the log says.

use onceload_tests::communities::create;
use onceload_tests::fixture::unused_endpoint;
use onceload_tests::http::Response;
use onceload_tests::proxy::Proxy;
use onceload_tests::{TestDb, World};
use serde_json::json;
use shared::db::outage::Outage;
use shared::db::{Database, DbError, Limits, SPLIT, Statement, Usage, within_budget};
use shared::domain::step::{StepError, StepErrorKind};
use shared::lambda::App;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const RAISE: Statement =
    Statement { name: "test.raise", sql: "-- test.raise\nSELECT raising.raise($1)::text" };
/// What a client of the API is promised, and as much again for a busy machine: without a bound it is minutes.
const SOON: Duration = Duration::from_secs(2 * 3);

/// What the server's refusal with this code becomes.
async fn refuse(db: &TestDb, code: &str) -> StepError {
    let pool = Database::new(&db.direct_url(), Usage::step(1), None).unwrap();
    let mut connection = pool.connection().await.unwrap();
    let tx = connection.begin("test", Limits::short()).await.unwrap();
    RAISE.one(&tx, &[&code]).await.unwrap_err().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_passes_by_itself_is_transient() {
    let db = TestDb::new().await;
    let raise = "CREATE SCHEMA raising;
         CREATE FUNCTION raising.raise(code text) RETURNS void LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = code; END $$";
    db.exec(raise).await;
    let transient = [
        "08006", "40001", "40P01", "25006", "25P03", "53000", "53100", "53200", "53300", "55P03", "57P01",
        "57P02", "57P03", "57P04", "57P05",
    ];
    let defects = ["42P01", "23505", "22001", "25P02", "42501", "58P01", "XX000"];
    for (codes, kind) in [(&transient[..], StepErrorKind::Transient), (&defects[..], StepErrorKind::Internal)]
    {
        for code in codes {
            let error = refuse(&db, code).await;
            assert_eq!(error.kind, kind, "{code}: {error}");
            assert!(
                error.message.contains("(test.raise)") || error.message.contains(code),
                "{code}: {error}"
            );
        }
    }
    let outage = |error: &StepError| DbError::of_step(error).unwrap().is_outage();
    assert!(outage(&refuse(&db, "25006").await) && outage(&refuse(&db, "53300").await));
    assert!(!outage(&refuse(&db, "55P03").await), "a lock is no outage");
}

#[test]
fn a_defect_is_not_repeated_and_neither_is_what_has_used_up_its_budget() {
    let defect = || DbError::defect("staging.copy", "sent 2 rows, 1 arrived");
    assert!(!defect().is_transient() && !defect().is_outage());
    assert_eq!(StepError::from(defect()).kind, StepErrorKind::Internal);
    assert!(DbError::no_answer("jobs.find", Duration::from_secs(3)).is_outage());
    let out_of_time = || DbError::out_of_time("staging.cut", Duration::from_secs(3));
    assert!(!out_of_time().is_transient());
    let kind = |error| within_budget::<()>("cutting", SPLIT, Err(error)).unwrap_err().kind;
    assert_eq!(kind(out_of_time()), StepErrorKind::TimeBudgetExceeded);
    assert_eq!(kind(defect()), StepErrorKind::Internal);
}

/// After a fail-over the old primary is a read-only standby, so its connections are opened again.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_server_that_is_read_only_is_given_up() {
    let world = World::new().await;
    let pool = Database::new(&world.db.direct_url(), Usage::step(2), None).unwrap();
    let backend = "-- test.backend\nSELECT pg_backend_pid() AS pid";
    let backend = Statement { name: "test.backend", sql: backend };
    let pid = async |connection: &shared::db::Connection| -> i32 {
        backend.one(connection, &[]).await.unwrap().get("pid")
    };
    let (first, second) = (pool.connection().await.unwrap(), pool.connection().await.unwrap());
    let old = [pid(&first).await, pid(&second).await];
    drop(second);
    let write = "-- test.write\nINSERT INTO onceload.merchants (id, name) SELECT gen_random_uuid(), 'x'
         WHERE set_config('transaction_read_only', 'on', true) = 'on'";
    let write = Statement { name: "test.write", sql: write };
    let read_only = Statement { name: "test.read_only", sql: "-- test.read_only\nSET TRANSACTION READ ONLY" };
    let mut first = first;
    let tx = first.begin("test", Limits::short()).await.unwrap();
    read_only.run_many(&tx, &[]).await.unwrap();
    let refused = write.run_one(&tx, &[]).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("25006"), "{refused:?}");
    assert!(refused.is_transient());
    drop(tx);
    drop(first);
    let (first, second) = (pool.connection().await.unwrap(), pool.connection().await.unwrap());
    for new in [pid(&first).await, pid(&second).await] {
        assert!(!old.contains(&new), "{new} is one of {old:?}");
    }
}

/// A request of a function with connections of its own, as an HTTP function makes them.
async fn ask(world: &World, url: &str) -> Response {
    let app = App { db: Database::new(url, Usage::http(), None).unwrap(), ..world.app.clone() };
    let asked = timeout(SOON, async { create(&app, "ada", None, &json!({ "name": "Coffee" })).await });
    asked.await.expect("an answer soon")
}

fn assert_unavailable(answer: &Response) {
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{answer:?}");
    assert_eq!(answer.body["type"], "urn:onceload:problem:unavailable", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_with_503_while_nothing_listens_or_nobody_answers() {
    let world = World::new().await;
    let (address, url) = (world.db.address(), world.db.url());
    let closed = unused_endpoint().replace("http://", "");
    assert_unavailable(&ask(&world, &url.replace(&address, &closed)).await);
    let frozen = Proxy::start(&address).await;
    frozen.set_silent(true);
    assert_unavailable(&ask(&world, &url.replace(&address, &frozen.address())).await);
    frozen.set_silent(false);
    assert_eq!(ask(&world, &url.replace(&address, &frozen.address())).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_with_503_while_the_database_is_read_only_or_full() {
    let world = World::new().await;
    let (url, name, admin) = (world.db.direct_url(), &world.db.name, world.db.connect_as_admin().await);
    let alter =
        async |what: &str| admin.batch_execute(&format!("ALTER DATABASE {name} {what}")).await.unwrap();
    alter("SET default_transaction_read_only = on").await;
    assert_unavailable(&ask(&world, &url).await);
    alter("RESET default_transaction_read_only").await;
    // The server refuses one connection too many as it does at `max_connections`: 53300.
    alter("CONNECTION LIMIT 0").await;
    assert_unavailable(&ask(&world, &url).await);
    alter("CONNECTION LIMIT -1").await;
    assert_eq!(ask(&world, &url).await.status, 201);
}

#[test]
fn an_outage_is_said_once_a_minute_and_how_long_it_was_at_its_end() {
    let (mut outage, start) = (Outage::default(), Instant::now());
    let mut said = Vec::new();
    for second in (0..=600).step_by(15) {
        said.extend(outage.fail(start + Duration::from_secs(second)));
    }
    let minutes: Vec<u64> = said.iter().map(|(lasted, _)| lasted.as_secs()).collect();
    assert_eq!(minutes, (0..=10).map(|minute| minute * 60).collect::<Vec<_>>());
    let end = start + Duration::from_secs(610);
    assert_eq!(outage.end(end), Some((Duration::from_secs(610), 41)));
    assert_eq!(outage.end(end), None, "once");
}
