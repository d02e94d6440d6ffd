//! Approving and cancelling: who may, when, and that one of several concurrent decisions holds.

use import_jobs::decide::Decision;
use onceload_tests::concurrency::all_at_once;
use onceload_tests::files::noise;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::db::outbox::Promises;
use shared::domain::status::Status;
use shared::domain::step::{StepErrorKind, StepResult};
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_needs_the_right_state_count_and_merchant() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let early = run.decide_approval(&world.actor, 2, false).await;
    assert_eq!(early, Decision::WrongState(Status::Loading));
    run.until(State::InsertCodes).await.expect(State::InsertCodes);

    assert_eq!(run.decide_approval(&world.actor, 3, false).await, Decision::WrongCount { clean: 2 });
    let other = add_merchant(&world.db, "Other").await;
    let stranger = add_member(&world.db, other).await;
    assert_eq!(run.decide_approval(&stranger, 2, false).await, Decision::NotFound);
    assert_eq!(run.cancel(&stranger).await, Decision::NotFound);
    assert_eq!(run.retry(&stranger).await, Decision::NotFound);
    assert_eq!(run.retry(&world.actor).await, Decision::WrongState(Status::AwaitingApproval));
    assert_eq!(world.read_status(run.job).await, "awaiting_approval");
    assert!(run.insert().await.is_err(), "the insert needs an approval");
    assert_eq!(world.count_codes().await, 0);

    run.approve(&world.actor).await;
    run.approve(&world.actor).await;
    let job = world.read_job(run.job).await;
    assert_eq!(job["approved_by"], json!(world.actor.user));
    assert_eq!(run.decide_approval(&world.actor, 3, false).await, Decision::WrongState(Status::Processing));
    assert_eq!(world.read_outbox(run.job).await, ["state_changed", "task_success", "task_success"]);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(
        run.decide_approval(&world.actor, 2, false).await,
        Decision::Taken { promises: Promises::none() },
        "done: nothing to wake"
    );
    assert_eq!(run.cancel(&world.actor).await, Decision::WrongState(Status::Completed));
    assert_eq!(run.retry(&world.actor).await, Decision::WrongState(Status::Completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_must_accept_a_high_share_of_duplicates() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nA\nA\nB\n").await;
    assert_eq!(world.read_job(run.job).await["blocked"], false, "half is not more than half");
    run.cancel(&world.actor).await;
    let mut run = world.import_until_approval("b.csv", "code\nA\nA\nA\nA\nB\n").await;
    assert_eq!(world.read_job(run.job).await["blocked"], true);
    assert_eq!(run.decide_approval(&world.actor, 2, false).await, Decision::Blocked);
    assert!(matches!(run.decide_approval(&world.actor, 2, true).await, Decision::Taken { .. }));
    run.until(State::Done).await.expect(State::Done);
    // The request sets the ratio.
    let key = world.upload("c.csv", "code\nX\nX\nX\nX\nY\n");
    let mut run = Run::new(
        &world.app,
        json!({ "merchant_id": world.merchant, "files": [key], "options": { "max_duplicate_ratio": 0.6 } }),
    );
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(world.read_job(run.job).await["blocked"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_concurrent_approvals_insert_once() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\n").await;
    let approvals = (0..16).map(|_| {
        let (run, actor) = (run.with_own_connections(&world), world.actor.clone());
        async move { run.decide_approval(&actor, 2, false).await }
    });
    for decision in all_at_once(approvals).await {
        assert!(matches!(decision, Decision::Taken { .. }), "{decision:?}");
    }
    // Each approval may wake an execution.
    let inserts = (0..6).map(|_| {
        let run = run.with_own_connections(&world);
        async move { run.insert().await }
    });
    for inserted in all_at_once(inserts).await {
        match inserted {
            Ok(output) => assert_eq!(output.codes_inserted, 2),
            // Another insert holds the merchant's lock.
            Err(error) => assert_eq!(error.kind, StepErrorKind::Transient, "{error}"),
        }
    }
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 2);
}

/// Many concurrent approvals and cancels: one of the two holds, and the codes in production show which.
#[tokio::test(flavor = "multi_thread")]
async fn either_the_approval_or_the_concurrent_cancel_holds() {
    let world = World::new().await;
    let (mut completed, mut cancelled, mut round) = (0, 0, 0);
    // The cancel starts later after it won and earlier after it lost, so that the two meet on any machine.
    let mut pause = std::time::Duration::from_millis(2);
    while round < 24 || completed == 0 || cancelled == 0 {
        round += 1;
        assert!(round < 100, "{completed} completed, {cancelled} cancelled: no race was run");
        let run = world.import_until_approval(&format!("{round}.csv"), format!("code\nR{round}\n")).await;
        let before = world.count_codes().await;
        let approving = {
            let (mut run, actor) = (run.clone(), world.actor.clone());
            run.app = world.app_with_pool(2);
            tokio::spawn(async move {
                let decision = run.decide_approval(&actor, 1, false).await;
                // The approval wakes the execution, which inserts.
                let inserted =
                    if matches!(decision, Decision::Taken { .. }) { Some(run.insert().await) } else { None };
                (decision, inserted)
            })
        };
        let cancelling = {
            let (mut run, actor) = (run.clone(), world.actor.clone());
            run.app = world.app_with_pool(2);
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                run.cancel(&actor).await
            })
        };
        let (approval, inserted) = approving.await.unwrap();
        let cancel = cancelling.await.unwrap();
        let error = match inserted {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(error.kind.as_str()),
            None => Some("Cancelled"),
        };
        match error {
            None => {
                run.close(None).await.unwrap();
                assert!(matches!(cancel, Decision::WrongState(_)), "codes are in, and {cancel:?}");
            }
            Some(error) => {
                run.close_caught(error, "").await.unwrap();
                assert!(matches!(cancel, Decision::Taken { .. }), "no codes, and {cancel:?}, {error}");
            }
        }
        let (status, codes) = (world.read_status(run.job).await, world.count_codes().await - before);
        match status.as_str() {
            "completed" => {
                completed += 1;
                pause /= 2;
            }
            "cancelled" => {
                cancelled += 1;
                pause = pause * 3 / 2 + std::time::Duration::from_micros(100);
            }
            other => panic!("{other}: {approval:?}, {cancel:?}, {error:?}"),
        }
        assert_eq!(codes, i64::from(status == "completed"), "{status}: {approval:?}, {cancel:?}");
        assert_eq!(world.read_job(run.job).await["leased"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_works_in_every_phase_before_the_insert() {
    let world = World::new().await;
    for stop in [
        State::LoadFiles,
        State::PlanChunks,
        State::MarkDuplicates,
        State::Validate,
        State::WaitForApproval,
        State::InsertCodes,
    ] {
        let mut run = world.import_file(&format!("{stop:?}.csv"), format!("code\n{stop:?}\n"));
        run.until(stop).await.expect(stop);
        assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
        assert!(
            matches!(run.cancel(&world.actor).await, Decision::Taken { .. }),
            "a repeated cancel is accepted"
        );
        if stop == State::InsertCodes {
            assert_eq!(
                world.read_status(run.job).await,
                "cancelled",
                "a waiting import is cancelled at once"
            );
            assert_eq!(world.read_outbox(run.job).await, ["state_changed", "state_changed", "task_failure"]);
        }
        let error = run.until(State::Done).await.error();
        assert_eq!(error.kind, StepErrorKind::Cancelled, "{stop:?}: {error}");
        let job = world.read_job(run.job).await;
        assert_eq!((&job["status"], &job["leased"]), (&json!("cancelled"), &json!(false)), "{stop:?}");
    }
    // While it waits for the merchant.
    let mut working = world.import_file("w.csv", "code\nW\n");
    working.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut pending = world.import_file("p.csv", "code\nP\n");
    pending.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    pending.cancel(&world.actor).await;
    assert_eq!(world.read_status(pending.job).await, "cancelled");
    pending.at = State::Open;
    assert_eq!(pending.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    // After the approval, before the insert.
    working.until(State::InsertCodes).await.expect(State::InsertCodes);
    working.approve(&world.actor).await;
    assert!(matches!(working.cancel(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(working.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(world.read_status(working.job).await, "cancelled");
    assert_eq!(world.count_codes().await, 0);
    // After the insert it is too late to cancel.
    let mut run = world.import_until_approval("late.csv", "code\nL\n").await;
    run.approve(&world.actor).await;
    run.insert().await.unwrap();
    assert_eq!(run.cancel(&world.actor).await, Decision::WrongState(Status::Processing));
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 1);
}

/// A cancelled loader stops while S3 still has bytes to send.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_a_load_that_is_under_way() {
    let world = World::new().await;
    let text = noise(60_000);
    let mut run = world.import_file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let gate = world.s3.gate(&world.key_under_stage("a.csv"), text.len() as u64 / 2);
    let loader = {
        let run = run.with_own_connections(&world);
        tokio::spawn(async move { run.load(1).await })
    };
    world
        .db
        .until("rows are copied", "SELECT count(*) > 0 FROM onceload.import_progress WHERE rows_done > 0")
        .await;
    assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(world.read_job(run.job).await["phase"], "cancelling");
    wait_for_heartbeat_after_cancel(&world, &run).await;
    gate.send(true).unwrap();
    let error = loader.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Cancelled, "{error}");
    assert_eq!(run.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(world.read_status(run.job).await, "cancelled");
    assert_eq!(world.count_staged(run.job).await, 0);
}

/// Another writer holds a code of each of the two chunks. The cancel comes while the insert waits in the first chunk,
/// and the insert ends while the code of the second chunk is still held: it checks for a cancel between its chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_an_insert_that_is_under_way() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\nC\nD\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["C"]).await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(run.chunks.len(), 2);
    run.approve(&world.actor).await;
    let (first, second) = (world.hold_code("A").await, world.hold_code("D").await);
    let insert = spawn_insert(&world, &run);
    world.db.wait_for_blocked("staging.insert").await;
    // The insert locks the job's row in its last statement only, so the cancel does not wait for it.
    assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
    wait_for_heartbeat_after_cancel(&world, &run).await;
    first.release().await;
    assert_cancelled(&world, run, insert).await;
    second.release().await;
}

/// The insert on connections of its own, as a function that runs beside the test.
fn spawn_insert(world: &World, run: &Run) -> JoinHandle<StepResult<insert_codes::Output>> {
    let run = run.with_own_connections(world);
    tokio::spawn(async move { run.insert().await })
}

/// Waits until the step's second connection has seen the cancel.
async fn wait_for_heartbeat_after_cancel(world: &World, run: &Run) {
    let beat = format!(
        "SELECT count(*) > 0 FROM onceload.import_progress p JOIN onceload.codes_import_jobs j ON j.id = p.job_id
          WHERE j.id = '{}' AND p.updated_at > j.cancel_requested_at",
        run.job
    );
    world.db.until("a heartbeat after the cancel", &beat).await;
}

async fn assert_cancelled(world: &World, mut run: Run, insert: JoinHandle<StepResult<insert_codes::Output>>) {
    let error = insert.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Cancelled, "{error}");
    assert_eq!(world.count_codes().await, 0, "all or nothing");
    assert_eq!(run.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(world.read_status(run.job).await, "cancelled");
}

/// After the insert, the job is completed whatever fails later.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_the_insert_does_not_fail_the_import() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    run.approve(&world.actor).await;
    run.insert().await.unwrap();
    run.close_caught("Internal", "the disk of the verifier is full").await.unwrap();
    let job = world.read_job(run.job).await;
    assert_eq!(job["status"], "completed");
    assert!(job["error_message"].as_str().unwrap().contains("in production"), "{job}");
}

/// The step checks for a cancel before each chunk. This cancel comes in the only chunk, so the last statement, which
/// expects an import that may still insert, has to refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_the_last_check_still_rolls_back_the_insert() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nB\nC\n").await;
    run.approve(&world.actor).await;
    let held = world.hold_code("B").await;
    let insert = spawn_insert(&world, &run);
    world.db.wait_for_blocked("staging.insert").await;
    assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
    held.release().await;
    assert_cancelled(&world, run, insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_nobody_approves_expires() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    // The timeout of the state machine comes without a cause.
    for _ in 0..2 {
        assert_eq!(run.close_caught("States.Timeout", "").await.unwrap().status, Some(Status::Expired));
    }
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("expired"), &json!(false)));
    assert_eq!(job["error_message"], json!("nobody approved the import in time"));
    assert_eq!(world.read_outbox(run.job).await, ["state_changed", "state_changed"], "announced once");
    assert_eq!(
        run.decide_approval(&world.actor, 1, false).await,
        Decision::WrongState(Status::Expired),
        "too late"
    );
    assert_eq!(run.retry(&world.actor).await, Decision::WrongState(Status::Expired));

    // An approval at the last moment holds: the state machine goes on to insert the codes.
    let mut run = world.import_until_approval("b.csv", "code\nB\n").await;
    run.approve(&world.actor).await;
    for _ in 0..2 {
        let closed = run.close_caught("States.Timeout", "").await.unwrap();
        assert_eq!((closed.status, closed.error.as_str()), (Some(Status::Processing), "States.Timeout"));
    }
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 1);
}
