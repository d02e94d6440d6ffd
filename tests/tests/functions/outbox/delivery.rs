//! Delivering the outbox: who takes which messages, and that none delays another.

use onceload_tests::execution::budget;
use onceload_tests::fixture::{
    add_merchant, clients_at, serve_acceptance, serve_without_events, unused_endpoint,
};
use onceload_tests::{State, World};
use serde_json::json;
use shared::db::outbox;
use shared::domain::ids::JobId;
use shared::domain::message::Kind;
use shared::lambda::{App, Budget};
use std::time::Duration;

const ATTEMPTS: &str = "SELECT coalesce(sum(attempts), 0)::bigint FROM onceload.outbox";
const UNDELIVERED: &str = "SELECT count(*) FROM onceload.outbox WHERE delivered_at IS NULL";
/// As if no function had tried to deliver anything yet.
const UNTRIED: &str = "UPDATE onceload.outbox SET attempts = 0, next_attempt_at = now(), last_error = NULL";

async fn sweep(app: &App) -> sweep_imports::Output {
    sweep_imports::handle(app.clone(), json!({}), budget()).await.unwrap()
}

/// The same functions with this endpoint of Step Functions and EventBridge.
fn with_endpoint(world: &World, endpoint: &str) -> App {
    App { clients: clients_at(endpoint, world.app.objects()), ..world.app.clone() }
}

fn that_delivers(app: &App, kinds: &[Kind]) -> App {
    let mut app = app.clone();
    app.config.delivers = kinds.to_vec();
    app
}

async fn promise(world: &World, job: JobId, kind: Kind, payload: &str, number: u32) {
    let kind = kind.as_str();
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.outbox (job_id, kind, payload) SELECT '{job}', '{kind}', '{payload}' FROM generate_series(1, {number})"
        ))
        .await;
}

/// A job of another merchant.
async fn add_job_elsewhere(world: &World, like: JobId) -> JobId {
    let (merchant, job) = (add_merchant(&world.db, "Second").await, JobId::generate());
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.codes_import_jobs (id, merchant_id, source_info)
             SELECT '{job}', '{merchant}', source_info FROM onceload.codes_import_jobs WHERE id = '{like}'"
        ))
        .await;
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_takes_only_the_messages_that_it_can_send() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nA\n");
    run.app = that_delivers(&world.app, &[]);
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(
        world.read_outbox(run.job).await.len(),
        4,
        "two events, a wake-up, and the start of an export"
    );
    assert_eq!(world.db.int(ATTEMPTS).await, 0);

    let listening = with_endpoint(&world, &serve_acceptance().await);
    assert_eq!(sweep(&that_delivers(&listening, &[Kind::StateChanged])).await.delivered, 2);
    let mut blind = listening.clone();
    blind.config.maintenance_state_machine_arn = None;
    assert_eq!(sweep(&blind).await.delivered, 1, "the wake-up");
    assert_eq!(world.db.int(ATTEMPTS).await, 3);
    assert_eq!(sweep(&listening).await.delivered, 1);
    assert_eq!(world.db.int(UNDELIVERED).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_delays_no_other() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    promise(&world, run.job, Kind::StartExecution, "{}", 1).await;
    promise(&world, run.job, Kind::StateChanged, "{}", 1).await;
    world.db.exec(UNTRIED).await;
    let listening = with_endpoint(&world, &serve_acceptance().await);
    assert_eq!(sweep(&listening).await.delivered, 4);
    let left = "SELECT kind || ': ' || last_error FROM onceload.outbox WHERE delivered_at IS NULL";
    assert_eq!(world.db.column(left).await, ["start_execution: its payload can't be read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_merchant_do_not_keep_those_of_another_waiting() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    world.db.exec("DELETE FROM onceload.outbox").await;
    promise(&world, run.job, Kind::StateChanged, "{}", 500).await;
    let elsewhere = add_job_elsewhere(&world, run.job).await;
    promise(&world, elsewhere, Kind::StateChanged, "{}", 2).await;
    let connection = world.app.db.connection().await.unwrap();
    let taken = outbox::take_due(&connection, &Kind::ALL, 4).await.unwrap();
    assert_eq!(taken.iter().filter(|message| message.job == elsewhere).count(), 2);
    drop(connection);
    world.db.exec(UNTRIED).await;
    let listening = with_endpoint(&world, &serve_acceptance().await);
    assert_eq!(sweep(&listening).await.delivered, 502, "one sweep sends all that is due");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_answer_delays_no_message_to_another() {
    let world = World::new().await;
    world.import_to_end("a.csv", "code\nA\nA\n").await;
    world.db.exec(UNTRIED).await;
    let half_deaf = with_endpoint(&world, &serve_without_events().await);
    let budget = Budget::of(Duration::from_secs(12));
    let sweeping = tokio::spawn(sweep_imports::handle(half_deaf, json!({}), budget));
    let others =
        "SELECT count(*) FROM onceload.outbox WHERE delivered_at IS NULL AND kind <> 'state_changed'";
    while world.db.int(others).await > 0 {
        tokio::task::yield_now().await;
    }
    let events = "SELECT count(*) FROM onceload.outbox WHERE kind = 'state_changed' AND delivered_at IS NULL";
    assert_eq!(world.db.int(events).await, 2);
    assert_eq!(sweeping.await.unwrap().unwrap().delivered, 2, "and the sweep does not wait for ever");
    assert_eq!(world.db.int(&format!("{events} AND last_error IS NOT NULL")).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_delivery_is_repeated_after_ten_seconds_then_later_and_within_five_minutes() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    world.db.exec("DELETE FROM onceload.outbox").await;
    for attempts in [0, 2, 50] {
        promise(&world, run.job, Kind::StateChanged, "{}", 1).await;
        let aged = format!(
            "UPDATE onceload.outbox SET attempts = {attempts} WHERE id = (SELECT max(id) FROM onceload.outbox)"
        );
        world.db.exec(&aged).await;
    }
    assert_eq!(sweep(&with_endpoint(&world, &unused_endpoint())).await.delivered, 0);
    let within = |seconds: u32| {
        format!(
            "SELECT count(*) FROM onceload.outbox WHERE next_attempt_at <= now() + interval '{seconds} seconds'"
        )
    };
    assert_eq!((world.db.int(&within(10)).await, world.db.int(&within(40)).await), (1, 2));
    assert_eq!(world.db.int(&within(300)).await, 3);
    let order = "SELECT attempts FROM onceload.outbox ORDER BY next_attempt_at";
    assert_eq!(world.db.column(order).await, ["1", "3", "51"]);
}
