//! What people decide, and that exactly one decision holds however many are made at once.

use crate::bad_files::noise;
use onceload_tests::fixture::{add_member, add_merchant, app};
use onceload_tests::{Bench, Run, State};
use serde_json::json;
use shared::db::decisions::Decision;
use shared::domain::job::Status;
use shared::domain::step::{StepErrorKind, StepResult};
use tokio::task::JoinHandle;

async fn waiting(bench: &Bench, name: &str, body: &str) -> Run {
    let mut run = bench.file(name, body.to_owned());
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nB\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let early = run.decide_approval(&bench.actor, 2, false).await;
    assert_eq!(early, Decision::WrongState(Status::Loading));
    run.until(State::InsertCodes).await.expect(State::InsertCodes);

    assert_eq!(run.decide_approval(&bench.actor, 3, false).await, Decision::WrongCount { clean: 2 });
    let other = add_merchant(&bench.db, "Other").await;
    let stranger = add_member(&bench.db, other).await;
    assert_eq!(run.decide_approval(&stranger, 2, false).await, Decision::NotFound);
    assert_eq!(run.cancel(&stranger).await, Decision::NotFound);
    assert_eq!(run.retry(&stranger).await, Decision::NotFound);
    assert_eq!(run.retry(&bench.actor).await, Decision::WrongState(Status::AwaitingApproval));
    assert_eq!(bench.status(run.job).await, "awaiting_approval");
    assert!(run.insert().await.is_err(), "no step goes round the approval");
    assert_eq!(bench.codes().await, 0);

    run.approve(&bench.actor).await;
    run.approve(&bench.actor).await;
    let job = bench.job(run.job).await;
    assert_eq!(job["approved_by"], json!(bench.actor.user));
    assert_eq!(run.decide_approval(&bench.actor, 3, false).await, Decision::WrongState(Status::Processing));
    assert_eq!(bench.outbox(run.job).await, ["state_changed", "task_success", "task_success"]);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(
        run.decide_approval(&bench.actor, 2, false).await,
        Decision::Taken { messages: vec![] },
        "done: nothing to wake"
    );
    assert_eq!(run.cancel(&bench.actor).await, Decision::WrongState(Status::Completed));
    assert_eq!(run.retry(&bench.actor).await, Decision::WrongState(Status::Completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_duplicates_want_a_word() {
    let bench = Bench::new().await;
    let run = waiting(&bench, "a.csv", "code\nA\nA\nA\nB\n").await;
    assert_eq!(bench.job(run.job).await["blocked"], false, "half is not more than half");
    run.cancel(&bench.actor).await;
    let mut run = waiting(&bench, "b.csv", "code\nA\nA\nA\nA\nB\n").await;
    assert_eq!(bench.job(run.job).await["blocked"], true);
    assert_eq!(run.decide_approval(&bench.actor, 2, false).await, Decision::Blocked);
    assert!(matches!(run.decide_approval(&bench.actor, 2, true).await, Decision::Taken { .. }));
    run.until(State::Done).await.expect(State::Done);
    // The ratio is the request's.
    let key = bench.stage("c.csv", "code\nX\nX\nX\nX\nY\n");
    let mut run = Run::new(
        &bench.app,
        json!({ "merchant_id": bench.merchant, "files": [key], "options": { "max_duplicate_ratio": 0.6 } }),
    );
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(bench.job(run.job).await["blocked"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_approvals_at_once() {
    let bench = Bench::new().await;
    let mut run = waiting(&bench, "a.csv", "code\nA\nB\n").await;
    let pool = onceload_tests::fixture::app(&bench.db, &bench.s3);
    let mut deciders = Vec::new();
    for _ in 0..16 {
        let mut run = run.clone();
        run.app = shared::edge::App { db: bench.db.pool(1), ..pool.clone() };
        let actor = bench.actor.clone();
        deciders.push(tokio::spawn(async move { run.decide_approval(&actor, 2, false).await }));
    }
    for decider in deciders {
        assert!(matches!(decider.await.unwrap(), Decision::Taken { .. }));
    }
    // And as many executions that were woken.
    let mut inserters = Vec::new();
    for _ in 0..6 {
        let run = Run { app: app(&bench.db, &bench.s3), ..run.clone() };
        inserters.push(tokio::spawn(async move { run.insert().await }));
    }
    for inserter in inserters {
        match inserter.await.unwrap() {
            Ok(output) => assert_eq!(output.codes_inserted, 2),
            // Another one has the merchant's lock.
            Err(error) => assert_eq!(error.kind, StepErrorKind::Transient, "{error}"),
        }
    }
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 2);
}

/// Approve against cancel, many times with real concurrency: one of the two holds, and the codes say which.
#[tokio::test(flavor = "multi_thread")]
async fn approve_against_cancel() {
    let bench = Bench::new().await;
    let (mut completed, mut cancelled, mut round) = (0, 0, 0);
    // How long the cancel waits: longer when it won, shorter when it lost, so that the two meet at any machine's pace.
    let mut pause = std::time::Duration::from_millis(2);
    while round < 24 || completed == 0 || cancelled == 0 {
        round += 1;
        assert!(round < 100, "{completed} completed, {cancelled} cancelled: no race was run");
        let run = waiting(&bench, &format!("{round}.csv"), &format!("code\nR{round}\n")).await;
        let before = bench.codes().await;
        let approving = {
            let (mut run, actor) = (run.clone(), bench.actor.clone());
            run.app = app(&bench.db, &bench.s3);
            tokio::spawn(async move {
                let decision = run.decide_approval(&actor, 1, false).await;
                // The execution wakes at once.
                let inserted =
                    if matches!(decision, Decision::Taken { .. }) { Some(run.insert().await) } else { None };
                (decision, inserted)
            })
        };
        let cancelling = {
            let (mut run, actor) = (run.clone(), bench.actor.clone());
            run.app = app(&bench.db, &bench.s3);
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
        let (status, codes) = (bench.status(run.job).await, bench.codes().await - before);
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
        assert_eq!(bench.job(run.job).await["leased"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_in_each_phase() {
    let bench = Bench::new().await;
    for stop in [
        State::LoadFiles,
        State::PlanChunks,
        State::MarkDuplicates,
        State::Validate,
        State::WaitForApproval,
        State::InsertCodes,
    ] {
        let mut run = bench.file(&format!("{stop:?}.csv"), format!("code\n{stop:?}\n"));
        run.until(stop).await.expect(stop);
        assert!(matches!(run.cancel(&bench.actor).await, Decision::Taken { .. }));
        assert!(matches!(run.cancel(&bench.actor).await, Decision::Taken { .. }), "the same cancel again");
        if stop == State::InsertCodes {
            assert_eq!(bench.status(run.job).await, "cancelled", "who waits is cancelled at once");
            assert_eq!(bench.outbox(run.job).await, ["state_changed", "state_changed", "task_failure"]);
        }
        let error = run.until(State::Done).await.error();
        assert_eq!(error.kind, StepErrorKind::Cancelled, "{stop:?}: {error}");
        let job = bench.job(run.job).await;
        assert_eq!((&job["status"], &job["leased"]), (&json!("cancelled"), &json!(false)), "{stop:?}");
    }
    // While it waits for the merchant.
    let mut working = bench.file("w.csv", "code\nW\n");
    working.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut pending = bench.file("p.csv", "code\nP\n");
    pending.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    pending.cancel(&bench.actor).await;
    assert_eq!(bench.status(pending.job).await, "cancelled");
    pending.at = State::Open;
    assert_eq!(pending.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    // After the approval, before the insert.
    working.until(State::InsertCodes).await.expect(State::InsertCodes);
    working.approve(&bench.actor).await;
    assert!(matches!(working.cancel(&bench.actor).await, Decision::Taken { .. }));
    assert_eq!(working.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(bench.status(working.job).await, "cancelled");
    assert_eq!(bench.codes().await, 0);
    // Once the codes are in, it is too late.
    let mut run = waiting(&bench, "late.csv", "code\nL\n").await;
    run.approve(&bench.actor).await;
    run.insert().await.unwrap();
    assert_eq!(run.cancel(&bench.actor).await, Decision::WrongState(Status::Processing));
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 1);
}

/// A loader that is cancelled stops while S3 still has much to send.
#[tokio::test(flavor = "multi_thread")]
async fn cancel_in_the_middle_of_a_load() {
    let bench = Bench::new().await;
    let text = noise(60_000);
    let mut run = bench.file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let gate = bench.s3.gate(&bench.stage_key("a.csv"), text.len() as u64 / 2);
    let loader = {
        let run = Run { app: app(&bench.db, &bench.s3), ..run.clone() };
        tokio::spawn(async move { run.load(1).await })
    };
    bench.db.until("rows are copied", "SELECT count(*) > 0 FROM import_progress WHERE rows_done > 0").await;
    assert!(matches!(run.cancel(&bench.actor).await, Decision::Taken { .. }));
    assert_eq!(bench.job(run.job).await["phase"], "cancelling");
    // It has until then to see it on its second connection; the gate only lets it go on if it doesn't look.
    let beat = format!(
        "SELECT count(*) > 0 FROM import_progress p JOIN codes_import_jobs j ON j.id = p.job_id
          WHERE j.id = '{}' AND p.updated_at > j.cancel_requested_at",
        run.job
    );
    bench.db.until("a heartbeat after the cancel", &beat).await;
    gate.send(true).unwrap();
    let error = loader.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Cancelled, "{error}");
    assert_eq!(run.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(bench.status(run.job).await, "cancelled");
    assert_eq!(bench.db.int(&format!("SELECT count(*) FROM codes_check_temp('{}')", run.job)).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_in_the_middle_of_an_insert() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", noise(150_000));
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&bench.actor).await;
    let inserter = inserting(&bench, &run);
    let at_work = "SELECT count(*) > 0 FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE '-- staging.insert%' AND state = 'active'";
    bench.db.until("the insert is under way", at_work).await;
    // It is not held up by the insert, which locks nothing on the job's row until its last statement.
    let asked = std::time::Instant::now();
    assert!(matches!(run.cancel(&bench.actor).await, Decision::Taken { .. }));
    assert!(asked.elapsed() < std::time::Duration::from_secs(4));
    is_cancelled(&bench, run, inserter).await;
}

/// The insert, as a function of its own that runs beside the test.
fn inserting(bench: &Bench, run: &Run) -> JoinHandle<StepResult<insert_codes::Output>> {
    let run = Run { app: app(&bench.db, &bench.s3), ..run.clone() };
    tokio::spawn(async move { run.insert().await })
}

async fn is_cancelled(bench: &Bench, mut run: Run, inserter: JoinHandle<StepResult<insert_codes::Output>>) {
    let error = inserter.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Cancelled, "{error}");
    assert_eq!(bench.codes().await, 0, "all or nothing");
    assert_eq!(run.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(bench.status(run.job).await, "cancelled");
}

/// Whatever fails after the codes are in, the job says that they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_the_insert_is_no_failure_of_the_import() {
    let bench = Bench::new().await;
    let run = waiting(&bench, "a.csv", "code\nA\n").await;
    run.approve(&bench.actor).await;
    run.insert().await.unwrap();
    run.close_caught("Internal", "the disk of the verifier is full").await.unwrap();
    let job = bench.job(run.job).await;
    assert_eq!(job["status"], "completed");
    assert!(job["error_message"].as_str().unwrap().contains("in production"), "{job}");
}

/// Two imports of one merchant wait; one is approved, the other is told who works.
#[tokio::test(flavor = "multi_thread")]
async fn the_merchant_is_busy() {
    let bench = Bench::new().await;
    let mut first = waiting(&bench, "a.csv", "code\nA\n").await;
    let mut second = waiting(&bench, "b.csv", "code\nB\n").await;
    first.approve(&bench.actor).await;
    let busy = second.decide_approval(&bench.actor, 1, false).await;
    assert_eq!(busy, Decision::MerchantBusy { by: Some(first.job) });
    first.until(State::Done).await.expect(State::Done);
    second.approve(&bench.actor).await;
    second.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 2);
}

/// The cancel comes after the step's last look: its last statement alone keeps the codes out.
#[tokio::test(flavor = "multi_thread")]
async fn cancel_after_the_last_look() {
    let bench = Bench::new().await;
    let run = waiting(&bench, "a.csv", "code\nA\nB\nC\n").await;
    run.approve(&bench.actor).await;
    // The only chunk waits for a row that somebody else is writing. The step looks before a chunk, never after it.
    let other = bench.db.connect().await;
    let hold = format!("INSERT INTO codes (merchant_id, code) VALUES ('{}', 'B')", bench.merchant);
    other.batch_execute(&format!("BEGIN; {hold}")).await.expect("a row in the way");
    let inserter = inserting(&bench, &run);
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '-- staging.insert%'";
    bench.db.until("the insert waits in its chunk", waits).await;
    assert!(matches!(run.cancel(&bench.actor).await, Decision::Taken { .. }));
    other.batch_execute("ROLLBACK").await.expect("out of the way");
    is_cancelled(&bench, run, inserter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_in_time() {
    let bench = Bench::new().await;
    let run = waiting(&bench, "a.csv", "code\nA\n").await;
    // The state machine's wait is over: it has no words of its own.
    for _ in 0..2 {
        assert_eq!(run.close_caught("States.Timeout", "").await.unwrap().status, Some(Status::Expired));
    }
    let job = bench.job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("expired"), &json!(false)));
    assert_eq!(job["error_message"], json!("nobody approved the import in time"));
    assert_eq!(bench.outbox(run.job).await, ["state_changed", "state_changed"], "announced once");
    assert_eq!(
        run.decide_approval(&bench.actor, 1, false).await,
        Decision::WrongState(Status::Expired),
        "too late"
    );
    assert_eq!(run.retry(&bench.actor).await, Decision::WrongState(Status::Expired));

    // Approved just as it ran out: the approval holds, so the import has not expired. It failed, and can be retried.
    let mut run = waiting(&bench, "b.csv", "code\nB\n").await;
    run.approve(&bench.actor).await;
    assert_eq!(run.close_caught("States.Timeout", "").await.unwrap().status, Some(Status::Failed));
    assert!(matches!(run.retry(&bench.actor).await, Decision::Taken { .. }));
    run = Run::of_job(&bench.app, run.job, 2);
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, 1);
}
