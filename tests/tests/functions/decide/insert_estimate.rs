//! How long an insert will take is known before the approval, and one that can't finish is not approved.

use crate::rules::deliveries::read_template;
use import_jobs::decide::{Decision, LargeInsert};
use onceload_tests::fixture::add_merchant;
use onceload_tests::{State, World};
use serde_json::json;
use shared::lambda::Budget;
use std::fmt::Write;
use std::time::Duration;
use uuid::Uuid;

/// A file with so many new codes.
fn file(name: &str, codes: u32) -> String {
    (0..codes).fold("code\n".to_owned(), |mut text, n| {
        writeln!(text, "{name}-{n}").unwrap();
        text
    })
}

/// An import of another merchant that has inserted so many codes at so many seconds each, so many minutes ago.
async fn add_insert(world: &World, codes: i64, seconds_each: i64, minutes_ago: i64) {
    let merchant = add_merchant(&world.db, "Other").await;
    let sql = format!(
        "INSERT INTO onceload.codes_import_jobs (id, merchant_id, status, phase, source_info, codes_inserted, late_duplicates,
                                                 insert_seconds, inserted_at, completed_at, finished_at)
         VALUES ('{}', '{merchant}', 'completed', 'completed', '{{}}', {codes}, 0, {},
                 now() - interval '{minutes_ago} minutes', now(), now())",
        Uuid::now_v7(),
        codes * seconds_each,
    );
    world.db.exec(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_of_the_last_three_large_inserts_tells_how_long_the_next_one_takes() {
    let world = World::new().await;
    let mut first = world.import_until_approval("first.csv", file("A", 3)).await;
    assert_eq!(world.show(first.job).await["insert_estimate_seconds"], json!(null), "nothing is known yet");
    let started = world.db.value("SELECT clock_timestamp()").await;
    first.finish(&world.actor).await.expect(State::Done);
    let is_within = format!(
        "SELECT insert_seconds > 0 AND insert_seconds <= extract(epoch FROM inserted_at - '{started}') FROM onceload.codes_import_jobs
          WHERE id = '{}'",
        first.job
    );
    assert_eq!(
        world.db.value(&is_within).await,
        "t",
        "the insert began after {started} and took what the database counted"
    );

    let run = world.import_until_approval("small.csv", file("B", 3)).await;
    assert_eq!(world.show(run.job).await["insert_estimate_seconds"], json!(null), "three codes tell no pace");
    run.cancel(&world.actor).await;

    add_insert(&world, 100_000, 9, 40).await;
    add_insert(&world, 400_000, 1, 30).await;
    add_insert(&world, 100_000, 3, 20).await;
    add_insert(&world, 200_000, 2, 10).await;
    add_insert(&world, 99_999, 7, 5).await;
    let mut run = world.import_until_approval("c.csv", file("C", 100)).await;
    assert_eq!(world.show(run.job).await["insert_estimate_seconds"], json!(300.0));
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.show(run.job).await["insert_estimate_seconds"], json!(300.0), "it stays to be compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_can_not_finish_is_not_approved() {
    let world = World::new().await;
    add_insert(&world, 100_000, 3, 20).await;
    let limit = Duration::from_secs(895);
    assert_eq!(world.app.config.insert_limit, limit, "a function's 15 minutes, less what ends it in order");

    let mut run = world.import_until_approval("large.csv", file("A", 400)).await;
    run.clean = 400;
    let estimate = Duration::from_secs(1200);
    let refused = Decision::InsertTooLarge(LargeInsert { clean: 400, estimate, limit });
    assert_eq!(run.decide_approval(&world.actor, 400, false).await, refused);
    assert_eq!(run.decide_approval(&world.actor, 399, false).await, Decision::WrongCount { clean: 400 });
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["approved_at"]), (&json!("awaiting_approval"), &json!(null)));
    assert_eq!(world.read_outbox(run.job).await, ["state_changed"], "nobody is woken");
    run.cancel(&world.actor).await;

    // As many as the refusal says fit.
    assert_eq!(LargeInsert { clean: 400, estimate, limit }.fitting(), 298);
    let mut run = world.import_until_approval("fits.csv", file("B", 298)).await;
    run.clean = 298;
    run.approve(&world.actor).await;
    // What was accepted stays accepted, whatever is forecast by now.
    world.db.exec("UPDATE onceload.codes_import_jobs SET insert_estimate_seconds = 9999").await;
    run.approve(&world.actor).await;
    run.until(State::Done).await.expect(State::Done);
    run.approve(&world.actor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_import_is_forecast_anew() {
    let world = World::new().await;
    add_insert(&world, 100_000, 3, 20).await;
    let keys = [world.upload("a.csv", file("A", 200)), world.upload("b.csv", file("B", 200))];
    let mut run = world.import_objects(&[&keys[0], &keys[1]]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert!(matches!(run.decide_approval(&world.actor, 400, false).await, Decision::InsertTooLarge(_)));
    run.mend(&world.actor, 2, None).await;
    assert_eq!(world.show(run.job).await["insert_estimate_seconds"], json!(null));
    let mut next = onceload_tests::Run::of_job(&world.app, run.job, 2);
    next.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.show(run.job).await["insert_estimate_seconds"], json!(600.0));
    assert_eq!(world.count_codes().await, 200);
}

/// The function that approves is told what the function that inserts has.
#[test]
fn the_limit_is_the_time_limit_of_the_function_that_inserts() {
    let template = read_template();
    let properties = |function: &str| template["Resources"][function]["Properties"].clone();
    let timeout = properties("InsertCodesFunction")["Timeout"].as_i64().expect("a time limit");
    let told = &properties("ImportJobsFunction")["Environment"]["Variables"]["INSERT_TIMEOUT_SECONDS"];
    assert_eq!(told.as_str(), Some(timeout.to_string().as_str()));
    let timeout = Duration::from_secs(timeout.cast_unsigned());
    let insert_limit = Budget::within(timeout);
    let left = Budget::until(std::time::SystemTime::now() + timeout).left();
    assert!(
        left <= insert_limit && insert_limit - left < Duration::from_secs(1),
        "{left:?}, {insert_limit:?}"
    );
}
