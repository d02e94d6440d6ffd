//! The next start supersedes an import that has been silent for fifteen minutes; a superseded run writes nothing.

use super::client::{assert_held, expect_job, post, read_profile, read_status, send, start};
use onceload_tests::fixture::add_merchant;
use onceload_tests::wait;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::step::StepErrorKind;
use std::time::Duration;

/// Backdates the heartbeats of the user's import by so many minutes.
async fn backdate_heartbeats(world: &World, job: JobId, minutes: i32) {
    world
        .db
        .exec(&format!(
            "UPDATE onceload.user_profiles SET processing_started_at = now() - interval '{minutes} min',
                    heartbeat_at = CASE WHEN heartbeat_at IS NOT NULL THEN now() - interval '{minutes} min' END
              WHERE job_id = '{job}';
             UPDATE onceload.codes_import_jobs SET heartbeat_at = now() - interval '{minutes} min' WHERE id = '{job}'"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_silent_for_fifteen_minutes_is_superseded() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let first = expect_job(&start(&world, &[&key]).await);
    let again = |minutes: f64| {
        let (world, key) = (&world, &key);
        async move {
            backdate_heartbeats(world, first, 20).await;
            let sql =
                format!("UPDATE onceload.user_profiles SET heartbeat_at = now() - interval '{minutes} min'");
            world.db.exec(&sql).await;
            start(world, &[key]).await
        }
    };
    // The import started long ago, and its heartbeat is recent.
    let held = again(14.95).await;
    assert_held(&held, first);
    assert_eq!(held.body["elapsedMinutes"], 20);
    assert!(held.header("retry-after").expect("seconds").parse::<u64>().expect("number") <= 3);

    let second = expect_job(&again(15.0).await);
    assert_ne!(first, second);
    let old = world.read_job(first).await;
    assert_eq!(
        (&old["status"], &old["attempt"], &old["leased"]),
        (&json!("failed"), &json!(2), &json!(false))
    );
    assert!(old["error_message"].as_str().expect("why").contains(&format!("superseded by import {second}")));
    assert_eq!(world.read_outbox(first).await, ["start_execution", "state_changed"]);
    assert_eq!(world.read_outbox(second).await, ["start_execution"]);
    assert_eq!(read_profile(&world.db, &world.actor).await["job_id"], json!(second));
    // The superseded run is fenced off, and its end does not end the new import.
    let mut ghost = Run::of_job(&world.app, first, 1);
    assert_eq!(ghost.until(State::Done).await.error().kind, StepErrorKind::Superseded);
    assert_eq!(read_status(&world).await["status"], "processing");
    Run::of_job(&world.app, second, 1).finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 1);
}

/// An approved import that has waited long for its merchant is silent when it gets its turn.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_has_just_got_its_turn_is_not_superseded() {
    let world = World::new().await;
    let (key, other) = (world.upload("a.csv", "code\nA\n"), world.upload("o.csv", "code\nO\n"));
    let first = expect_job(&start(&world, &[&key]).await);
    let mut run = Run::of_job(&world.app, first, 1);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let mut busy = world.import_file("busy.csv", "code\nB\n");
    busy.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.approve(&world.actor).await;
    let silent = "UPDATE onceload.user_profiles SET processing_started_at = now() - interval '20 min', heartbeat_at = NULL";
    world.db.exec(silent).await;
    busy.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(world.read_status(first).await, "processing");
    assert_held(&start(&world, &[&other]).await, first);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes_of(first).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_a_start_time_counts_as_just_started() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.user_profiles (user_id, import_status) VALUES ('{}', 'processing')",
            world.actor.user
        ))
        .await;
    let response = start(&world, &[&key]).await;
    assert_eq!(
        (response.status, &response.body["elapsedMinutes"], &response.body["jobId"]),
        (409, &json!(0), &Value::Null)
    );
    assert!(response.body["startedAt"].is_string());
    assert!(
        read_profile(&world.db, &world.actor).await["processing_started_at"].is_string(),
        "the request sets the start time"
    );
    world
        .db
        .exec("UPDATE onceload.user_profiles SET processing_started_at = now() - interval '15 min'")
        .await;
    expect_job(&start(&world, &[&key]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_is_superseded_writes_nothing() {
    let world = World::new().await;
    let codes: String = (0..200).map(|n| format!("C{n:04}\n")).collect();
    let key = world.upload("a.csv", format!("code\n{codes}"));
    let first = expect_job(&start(&world, &[&key]).await);
    let mut ghost = Run::of_job(&world.app, first, 1);
    ghost.until(State::InsertCodes).await.expect(State::InsertCodes);
    ghost.approve(&world.actor).await;
    let held = world.hold_code("C0100").await;
    let insert = tokio::spawn({
        let ghost = ghost.clone();
        async move { ghost.insert().await }
    });
    world.db.wait_for_blocked("staging.insert").await;
    // The insert's heartbeats go on, so the start must come between the silence and the next heartbeat.
    let second = wait::until("a start that supersedes", Duration::ZERO, async || {
        backdate_heartbeats(&world, first, 16).await;
        let response = start(&world, &[&key]).await;
        (response.status == 202).then(|| expect_job(&response))
    })
    .await;
    held.release().await;
    let error = insert.await.expect("a task").expect_err("the ghost must not write");
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(world.count_codes().await, 0);
    Run::of_job(&world.app, second, 1).finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 200);
    assert_eq!(world.read_status(first).await, "failed");
}

/// No step of a live import is silent for fifteen minutes, however long its statement takes.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_marks_validates_or_verifies_is_not_superseded() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let first = expect_job(&start(&world, &[&key]).await);
    let mut run = Run::of_job(&world.app, first, 1);
    run.until(State::PlanChunks).await.expect(State::PlanChunks);
    let bucket = world.first_bucket(first).await;
    for (state, table) in [
        (State::MarkDuplicates, bucket.as_str()),
        (State::Validate, &bucket),
        (State::Verify, "onceload.codes"),
    ] {
        if state == State::Verify {
            run.until(State::InsertCodes).await.expect(State::InsertCodes);
            run.approve(&world.actor).await;
        }
        run.until(state).await.expect(state);
        let held = world.hold_reads(table).await;
        let mut working = Run { app: world.app_with_pool(3), ..run.clone() };
        let (stepped, ()) = tokio::join!(working.step(), async {
            held.wait_for_reader(&world).await;
            backdate_heartbeats(&world, first, 20).await;
            world.wait_for_beats("onceload.codes_import_jobs", &first.to_string()).await;
            assert_held(&start(&world, &[&key]).await, first);
            held.release().await;
        });
        run = Run { app: world.app.clone(), at: stepped.unwrap(), ..working };
    }
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 1);
}

/// A silent import blocks the line until somebody supersedes it. The new import takes its lease over, and the line goes on after.
#[tokio::test(flavor = "multi_thread")]
async fn superseding_takes_the_lease_over_before_those_in_line() {
    let world = World::new().await;
    let first = expect_job(&start(&world, &[&world.upload("a.csv", "code\nA\n")]).await);
    let mut upload = world.import_file("b.csv", "code\nB\n");
    upload.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    backdate_heartbeats(&world, first, 20).await;
    let second = expect_job(&start(&world, &[&world.upload("c.csv", "code\nC\n")]).await);
    assert_eq!(world.read_job(second).await["leased"], true);
    assert_eq!(world.read_outbox(upload.job).await, [""; 0], "nobody has returned the lease");
    Run::of_job(&world.app, second, 1).until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(world.read_outbox(upload.job).await, ["task_success"]);
}

/// The user's stuck import worked for another merchant, whose line goes on at once.
#[tokio::test(flavor = "multi_thread")]
async fn superseding_an_import_of_another_merchant_wakes_its_line() {
    let world = World::new().await;
    let first = expect_job(&start(&world, &[&world.upload("a.csv", "code\nA\n")]).await);
    let mut upload = world.import_file("b.csv", "code\nB\n");
    upload.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    let other = add_merchant(&world.db, "Other").await;
    let member = format!(
        "INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{other}', '{}')",
        world.actor.user
    );
    world.db.exec(&member).await;
    backdate_heartbeats(&world, first, 20).await;
    let key = format!("stage/{other}/x.csv");
    world.s3.put(&key, "code\nX\n");
    expect_job(&send(&world.app, post(&world.actor, other, &[&key])).await);
    assert_eq!(world.read_status(first).await, "failed");
    assert_eq!(world.read_outbox(upload.job).await, ["task_success"]);
}

/// An approved import that waits for its merchant is silent. It is not stuck, however long it waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_approved_import_in_line_keeps_its_user_and_is_not_superseded() {
    let world = World::new().await;
    let first = expect_job(&start(&world, &[&world.upload("a.csv", "code\nA\n")]).await);
    let mut run = Run::of_job(&world.app, first, 1);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(read_status(&world).await["status"], "idle");
    let mut working = world.import_file("b.csv", "code\nB\n");
    working.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.approve(&world.actor).await;
    assert_eq!(world.read_job(first).await["phase"], "waiting_for_merchant");
    assert_eq!(read_status(&world).await["status"], "processing");
    backdate_heartbeats(&world, first, 20).await;
    world
        .db
        .exec("UPDATE onceload.user_profiles SET processing_started_at = now() - interval '20 min'")
        .await;
    assert_held(&start(&world, &[&world.upload("c.csv", "code\nC\n")]).await, first);
    working.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(read_status(&world).await["status"], "completed");
}
