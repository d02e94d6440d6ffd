//! Rollbacks that run concurrently with other requests and imports, are killed, or are repeated.

use crate::process::Process;
use import_jobs::maintain::Asked;
use onceload_tests::concurrency::all_at_once;
use onceload_tests::files::{noise, numbered};
use onceload_tests::maintenance::request_maintenance;
use onceload_tests::reports::read_gzip;
use onceload_tests::{Maintenance, State, World};
use serde_json::{Value, json};
use shared::domain::step::{StepError, StepErrorKind};
use shared::domain::task::{Action, ClaimedCodes};

const KEEP: Maintenance = Maintenance::Rollback(ClaimedCodes::Keep);

fn input(task: &onceload_tests::MaintenanceTask) -> Value {
    json!({ "task_id": task.task, "job_id": task.job })
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_concurrent_requests_start_one_rollback() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..3_000)).await;
    let before = world.read_codes_epoch().await;
    let requests = (0..16).map(|_| {
        let (db, actor, job) = (world.db.pool(1), world.actor.clone(), run.job);
        async move { request_maintenance(&db, &actor, job, KEEP).await }
    });
    let mut taken = 0;
    for asked in all_at_once(requests).await {
        match asked {
            Asked::Taken { promises } => {
                assert_eq!(promises.into_ids().len(), 1);
                taken += 1;
            }
            Asked::UnderWay => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken, 1);
    assert_eq!(
        world.request_maintenance(run.job, Maintenance::Rollback(ClaimedCodes::Delete)).await,
        Asked::RollingBack,
        "another kind of rollback is refused"
    );
    let task = world.find_task(run.job, Action::Rollback).await;
    let executions = (0..6).map(|_| {
        let task = task.with_own_connections(&world);
        async move { task.run().await }
    });
    for ran in all_at_once(executions).await {
        match ran {
            Ok(result) => assert_eq!(result["codes_deleted"], 3_000),
            // Another execution holds the merchant's lock or has recorded the result.
            Err(StepError { kind: StepErrorKind::Transient | StepErrorKind::Superseded, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(task.run().await.unwrap()["codes_deleted"], 3_000);
    assert_eq!((world.read_codes_epoch().await, world.count_codes().await), (before + 1, 0));
    let announced =
        world.read_outbox(run.job).await.into_iter().filter(|kind| kind == "state_changed").count();
    assert_eq!(announced, 3, "awaiting_approval, completed, rolled_back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rollback_is_repeated() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", noise(300_000)).await;
    let task = world.start_task(run.job, KEEP).await;
    for _ in 0..2 {
        let mut process = Process::start(&world, "rollback-import", &input(&task));
        world.db.wait_for_running("codes.delete").await;
        process.kill();
        world.db.wait_for_end("rollback").await;
        assert_eq!(
            (world.count_codes().await, world.read_status(run.job).await.as_str()),
            (300_000, "completed")
        );
    }
    assert_eq!(task.run().await.unwrap()["codes_deleted"], 300_000);
    assert_eq!((world.count_codes().await, world.read_status(run.job).await.as_str()), (0, "rolled_back"));
}

/// The rollback fails after its commit and before it lists the claimed codes; the next run lists them.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_failed_after_its_commit_lists_the_claimed_codes_later() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..20)).await;
    world.db.exec("UPDATE onceload.codes SET claimed = true WHERE code = 'A000003'").await;
    let task = world.start_task(run.job, KEEP).await;
    let key = format!("reports/{}/{}/claimed.csv.gz", world.merchant, run.job);
    world.s3.refuse_writes(true);
    let error = task.run().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    assert_eq!((world.read_status(run.job).await.as_str(), world.count_codes().await), ("rolled_back", 1));
    assert!(world.s3.get(&key).is_none());
    world.s3.refuse_writes(false);
    let result = task.run().await.unwrap();
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(19), &json!(1)));
    assert!(String::from_utf8(read_gzip(&world, &key)).unwrap().contains("A000003"));
}

/// An abandoned rollback releases the merchant. Its run, which is still alive, deletes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_rollback_frees_the_merchant_and_deletes_nothing() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    let ghost = world.start_task(run.job, KEEP).await;
    // The run has deleted the codes and waits before its last statements.
    let mut blocker = world.db.connect().await;
    let held = blocker.transaction().await.unwrap();
    held.batch_execute("SELECT FROM onceload.merchants FOR UPDATE").await.unwrap();
    let running = {
        let ghost = ghost.with_own_connections(&world);
        tokio::spawn(async move { ghost.run().await })
    };
    world.db.wait_for_blocked("merchants.raise_epoch").await;
    let failure = StepError::new(StepErrorKind::TimeBudgetExceeded, "it takes too long");
    let given_up = ghost.abandon(&failure).await;
    assert_eq!(
        (&given_up["error"], &given_up["cause"]),
        (&json!("TimeBudgetExceeded"), &json!("it takes too long"))
    );
    held.rollback().await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(world.count_codes().await, 50, "all or nothing");
    let job = world.read_job(run.job).await;
    assert_eq!(
        (&job["status"], &job["phase"], &job["leased"]),
        (&json!("completed"), &json!("completed"), &json!(false))
    );
    assert_eq!(ghost.run().await.unwrap_err().kind, StepErrorKind::Superseded);
    assert_eq!(ghost.abandon(&failure).await["error"], "Superseded", "once");

    // A new request starts another task.
    let again = world.start_task(run.job, KEEP).await;
    assert_ne!(again.task, ghost.task);
    assert_eq!(
        ghost.abandon(&failure).await["error"],
        "Superseded",
        "abandoning the old task does not affect the new one"
    );
    assert_eq!(world.read_job(run.job).await["leased"], true);
    assert_eq!(again.run().await.unwrap()["codes_deleted"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_and_an_import_of_one_merchant_exclude_each_other() {
    let world = World::new().await;
    let done = world.import_to_end("a.csv", numbered("A", 0..40)).await;
    // The first import has half of these codes.
    let mut text = numbered("A", 0..20);
    text.push_str(numbered("B", 0..20).strip_prefix("code\n").unwrap());
    let mut running = world.import_file("b.csv", text);
    running.until(State::PlanChunks).await.expect(State::PlanChunks);
    assert_eq!(
        world.request_maintenance(done.job, KEEP).await,
        Asked::MerchantBusy { by: Some(running.job) }
    );
    running.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(running.clean, 20);

    // The second import waits for approval, so the merchant is free. Approved during the rollback, it waits for its end.
    let task = world.start_task(done.job, KEEP).await;
    running.approve(&world.actor).await;
    assert_eq!(world.read_job(running.job).await["phase"], "waiting_for_merchant");
    let mut third = world.import_file("c.csv", numbered("C", 0..5));
    third.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    assert_eq!(task.run().await.unwrap()["codes_deleted"], 40);

    let error = running.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::CountMismatch, "{error}");
    assert_eq!(world.count_codes().await, 0);
    running.at = State::PlanChunks;
    running.finish(&world.actor).await.expect(State::Done);
    assert_eq!((running.clean, world.count_codes().await), (40, 40), "former duplicates are clean now");
    third.at = State::Open;
    third.finish(&world.actor).await.expect(State::Done);
}

/// A rollback and an approval race for the merchant. Whichever wins, exactly the right codes remain.
#[tokio::test(flavor = "multi_thread")]
async fn either_the_rollback_or_the_concurrent_approval_gets_the_merchant() {
    let world = World::new().await;
    for round in 0..8 {
        let name = format!("R{round}-");
        let old = world.import_to_end(&format!("{round}a.csv"), numbered(&name, 0..30)).await;
        let mut new = world.import_file(&format!("{round}b.csv"), numbered(&name, 0..60));
        new.until(State::InsertCodes).await.expect(State::InsertCodes);
        let before = world.count_codes().await;
        let rolling = {
            let (db, actor, job) = (world.db.pool(1), world.actor.clone(), old.job);
            tokio::spawn(async move { request_maintenance(&db, &actor, job, KEEP).await })
        };
        new.approve(&world.actor).await;
        match rolling.await.unwrap() {
            Asked::Taken { .. } => {
                assert_eq!(world.read_status(new.job).await, "awaiting_approval", "both hold the merchant");
                let task = world.find_task(old.job, Action::Rollback).await;
                task.run().await.unwrap();
                new.finish(&world.actor).await.expect(State::Done);
                assert_eq!(world.count_codes().await, before + 30);
            }
            Asked::MerchantBusy { .. } => {
                new.until(State::Done).await.expect(State::Done);
                assert_eq!(world.count_codes().await, before + 30);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs WHERE leased").await, 0);
}
