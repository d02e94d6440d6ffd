//! Who goes first in line for a merchant's lease: people, then uploads in order of arrival.

use super::waiting::{count_wakes, imports, line_up, place, read_place, sweep};
use import_jobs::decide::Decision;
use import_jobs::maintain::Asked;
use onceload_tests::fixture::{add_member, add_merchant, subject};
use onceload_tests::http::{receive, request};
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::json;
use shared::domain::status::Status;
use shared::domain::step::StepErrorKind;
use shared::domain::task::ClaimedCodes;

#[tokio::test(flavor = "multi_thread")]
async fn imports_of_one_merchant_run_in_order_of_arrival() {
    let world = World::new().await;
    let mut runs: Vec<Run> =
        (0..3).map(|i| world.import_file(&format!("{i}.csv"), format!("code\nC{i}\nSAME\n"))).collect();
    runs[0].until(State::LoadFiles).await.expect(State::LoadFiles);
    for run in &mut runs[1..] {
        run.until(State::LoadFiles).await.expect(State::WaitForMerchant);
        let job = world.read_job(run.job).await;
        assert_eq!((&job["status"], &job["phase"]), (&json!("pending"), &json!("waiting_for_merchant")));
    }
    // Another merchant does not wait.
    let other = add_merchant(&world.db, "Other").await;
    let key = format!("stage/{other}/x.csv");
    world.s3.put(&key, "code\nX\n");
    let mut elsewhere = Run::new(&world.app, json!({ "merchant_id": other, "files": [key] }));
    elsewhere.finish(&add_member(&world.db, other).await).await.expect(State::Done);

    // While the first waits for approval the lease is free. The third asks before the second and still waits.
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    runs[2].at = State::Open;
    runs[2].until(State::LoadFiles).await.expect(State::WaitForMerchant);
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::LoadFiles);
    runs[1].until(State::InsertCodes).await.expect(State::InsertCodes);
    for i in [0, 1] {
        runs[i].finish(&world.actor).await.expect(State::Done);
    }
    runs[2].at = State::Open;
    runs[2].finish(&world.actor).await.expect(State::Done);
    let mut codes = world
        .db
        .column(&format!("SELECT code FROM onceload.codes WHERE merchant_id = '{}'", world.merchant))
        .await;
    codes.sort();
    assert_eq!(codes, ["C0", "C1", "C2", "SAME"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_imports_take_the_lease_before_uploads_in_the_order_of_their_approvals() {
    let world = World::new().await;
    let mut second = world.import_until_approval("p2.csv", "code\nP2\n").await;
    let mut first = world.import_until_approval("p1.csv", "code\nP1\n").await;
    let mut runs = imports::<2>(&world);
    line_up(&mut runs).await;
    for run in [&first, &second] {
        run.approve(&world.actor).await;
        assert_eq!(read_place(&world, run).await, place("awaiting_approval", "waiting_for_merchant"));
    }
    // The same approval again is accepted again, another one is not, and neither wakes anybody.
    first.approve(&world.actor).await;
    assert_eq!(first.decide_approval(&world.actor, 7, false).await, Decision::WrongCount { clean: 1 });
    assert_eq!(world.read_outbox(first.job).await, ["state_changed"]);
    assert_eq!(
        first.insert().await.unwrap_err().kind,
        StepErrorKind::Superseded,
        "it does not have the lease"
    );

    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(read_place(&world, &first).await, place("processing", "inserting"));
    assert_eq!(world.read_outbox(first.job).await, ["state_changed", "task_success"]);
    first.until(State::Done).await.expect(State::Done);
    assert_eq!(read_place(&world, &second).await, place("processing", "inserting"));
    assert_eq!(count_wakes(&world, &runs[1]).await, 0, "an upload waits for people");
    second.until(State::Done).await.expect(State::Done);
    assert_eq!(count_wakes(&world, &runs[1]).await, 1);
    // Uploads that wait don't keep anybody from approving: nobody has the lease.
    runs[0].approve(&world.actor).await;
    assert_eq!(world.read_status(runs[0].job).await, "processing");
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::WaitForMerchant);
    runs[0].until(State::Done).await.expect(State::Done);
    assert_eq!(count_wakes(&world, &runs[1]).await, 1, "the promise is not delivered yet: one is enough");
    assert_eq!(world.count_codes().await, 3);
}

/// A retry and a rollback take a free lease although uploads sleep in line. The uploads go on afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_uploads_keeps_nobody_from_rolling_back_or_retrying() {
    let world = World::new().await;
    let done = world.import_to_end("done.csv", "code\nD\n").await;
    let mut failed = world.import_file("failed.csv", "code\nF\n");
    failed.until(State::LoadFiles).await.expect(State::LoadFiles);
    failed.close_caught("Internal", "broken").await.unwrap();
    let mut runs = imports::<2>(&world);
    line_up(&mut runs).await;
    let keep = Maintenance::Rollback(ClaimedCodes::Keep);
    assert_eq!(
        world.request_maintenance(done.job, keep).await,
        Asked::MerchantBusy { by: Some(runs[0].job) }
    );
    assert_eq!(failed.retry(&world.actor).await, Decision::MerchantBusy { by: Some(runs[0].job) });
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    let task = world.start_task(done.job, keep).await;
    // The upload was woken, and finds that somebody was quicker.
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::WaitForMerchant);
    task.run().await.unwrap();
    assert!(matches!(failed.retry(&world.actor).await, Decision::Taken { .. }));
    let mut again = Run::of_job(&world.app, failed.job, 2);
    again.until(State::InsertCodes).await.expect(State::InsertCodes);
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::LoadFiles);
}

/// Whoever was told that the merchant is busy finds the lease free when they ask again, however long the line is.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_asks_again_goes_before_the_uploads_that_wait() {
    let world = World::new().await;
    let mut failed = world.import_file("failed.csv", "code\nF\n");
    failed.until(State::LoadFiles).await.expect(State::LoadFiles);
    failed.close_caught("Internal", "broken").await.unwrap();
    let mut runs = imports::<3>(&world);
    line_up(&mut runs).await;
    let path = format!("/imports/{}/retry", failed.job);
    let retry = async || {
        let request = request("POST", &path, Some(&subject(&world.actor)), "");
        receive(import_jobs::handle(world.app.clone(), request).await).status
    };
    assert_eq!(retry().await, 409);
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    sweep(&world.app).await;
    assert_eq!(count_wakes(&world, &runs[1]).await, 0, "the lease is kept for the person");
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::WaitForMerchant);
    assert_eq!(retry().await, 202);
    // The line goes on behind it.
    Run::of_job(&world.app, failed.job, 2).until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(count_wakes(&world, &runs[1]).await, 1);

    // Who doesn't ask again keeps nobody waiting.
    runs[1].at = State::Open;
    runs[1].until(State::LoadFiles).await.expect(State::LoadFiles);
    let asked = format!(
        "UPDATE onceload.codes_import_jobs SET asked_at = now() - interval '21 seconds' WHERE id = '{}'",
        failed.job
    );
    world.db.exec(&asked).await;
    runs[1].until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(count_wakes(&world, &runs[2]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_import_that_waits_can_be_cancelled_and_does_not_expire() {
    let world = World::new().await;
    let mut parked = world.import_until_approval("p.csv", "code\nP\n").await;
    let mut runs = imports::<1>(&world);
    line_up(&mut runs).await;
    parked.approve(&world.actor).await;
    let age = format!(
        "UPDATE onceload.codes_import_jobs SET awaiting_since = now() - interval '30 days' WHERE id = '{}'",
        parked.job
    );
    world.db.exec(&age).await;
    assert_eq!(sweep(&world.app).await.expired, 0);
    // Its task times out; the state machine lets it wait with another token.
    let closed = parked.close_caught("States.Timeout", "").await.unwrap();
    assert_eq!(closed.status, Some(Status::AwaitingApproval));
    parked.token = "the next token".into();
    parked.await_approval().await.unwrap();
    let job = world.read_job(parked.job).await;
    assert_eq!(
        (&job["phase"], &job["task_token"]),
        (&json!("waiting_for_merchant"), &json!("the next token"))
    );
    assert!(job["approved_at"].is_string());

    assert!(matches!(parked.cancel(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(world.read_status(parked.job).await, "cancelled");
    assert!(world.read_outbox(parked.job).await.contains(&"task_failure".to_owned()));
    assert_eq!(parked.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    runs[0].finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 1);
}
