//! Taking an import back: all of its codes or none, once, whoever is beside it.

use crate::bad_files::noise;
use crate::exports::unzipped;
use crate::kill::Process;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::upkeep::ask;
use onceload_tests::{Ask, Bench, Run, State};
use serde_json::{Value, json};
use shared::db::maintenance::Asked;
use shared::db::pool::client;
use shared::db::tasks;
use shared::domain::ids::JobId;
use shared::domain::job::Status;
use shared::domain::step::{StepError, StepErrorKind};
use shared::domain::task::{Claimed, ExportKind, TaskStatus};
use std::fmt::Write;

const KEEP: Ask = Ask::Rollback(Claimed::Keep);

fn numbered(prefix: &str, rows: u32) -> String {
    let mut text = String::from("code\n");
    (0..rows).for_each(|i| {
        let _ = writeln!(text, "{prefix}{i:06}");
    });
    text
}

async fn imported(bench: &Bench, name: &str, text: String) -> Run {
    let mut run = bench.file(name, text);
    run.finish(&bench.actor).await.expect(State::Done);
    run
}

async fn codes_of(bench: &Bench, job: JobId) -> i64 {
    bench.db.int(&format!("SELECT count(*) FROM codes WHERE import_job_id = '{job}'")).await
}

async fn epoch(bench: &Bench) -> i64 {
    bench.db.int(&format!("SELECT codes_epoch FROM merchants WHERE id = '{}'", bench.merchant)).await
}

fn input(task: &onceload_tests::Upkeep) -> Value {
    json!({ "task_id": task.task, "job_id": task.job })
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_the_jobs_codes_and_no_others() {
    let bench = Bench::new().await;
    bench.add_codes(&["MINE-BEFORE"]).await;
    let run = imported(&bench, "a.csv", numbered("A", 500)).await;
    let other = imported(&bench, "b.csv", numbered("B", 300)).await;
    let before = epoch(&bench).await;

    let task = bench.task(run.job, KEEP).await;
    let job = bench.job(run.job).await;
    assert_eq!((&job["status"], &job["phase"]), (&json!("completed"), &json!("rolling_back")));
    assert_eq!(job["leased"], true, "nobody imports meanwhile");
    let result = task.run().await.unwrap();
    assert_eq!(
        result,
        json!({
            "success": true, "job_id": run.job, "codes_deleted": 500, "codes_kept": 0, "original_insert_count": 500,
            "message": format!("Rolled back 500 codes from job {}", run.job), "files": [],
        })
    );
    assert_eq!((codes_of(&bench, run.job).await, codes_of(&bench, other.job).await), (0, 300));
    assert_eq!(bench.codes().await, 301);
    let job = bench.job(run.job).await;
    assert_eq!((&job["status"], &job["leased"]), (&json!("rolled_back"), &json!(false)));
    assert_eq!((&job["codes_deleted"], &job["codes_kept"]), (&json!(500), &json!(0)));
    assert_eq!(job["merchant_total"], json!(301), "counted again");
    assert!(job["rolled_back_at"].is_string() && job["completed_at"].is_string());
    assert_eq!(epoch(&bench).await, before + 1);
    assert_eq!(
        bench.outbox(run.job).await,
        ["state_changed", "task_success", "state_changed", "start_maintenance", "state_changed"],
        "the end is announced"
    );

    // The same execution again, and the same request again.
    assert_eq!(task.run().await.unwrap(), result);
    assert_eq!(epoch(&bench).await, before + 1, "done once");
    assert_eq!(bench.ask(run.job, KEEP).await, Asked::WrongState(Status::RolledBack));
    // The codes can be imported again.
    imported(&bench, "again.csv", numbered("A", 500)).await;
    assert_eq!(bench.codes().await, 801);
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_codes_are_kept_and_listed_or_deleted() {
    let bench = Bench::new().await;
    let claim = async |job: JobId| {
        bench
            .db
            .exec(&format!(
                "UPDATE codes SET claimed = true, claimed_customer_id = '=customer ' || code
                  WHERE import_job_id = '{job}' AND right(code, 1) = '7'"
            ))
            .await;
    };
    let kept = imported(&bench, "a.csv", numbered("A", 100)).await;
    claim(kept.job).await;
    let result = bench.done(kept.job, KEEP).await;
    assert_eq!(
        (&result["codes_deleted"], &result["codes_kept"], &result["original_insert_count"]),
        (&json!(90), &json!(10), &json!(100))
    );
    let key = format!("reports/{}/{}/claimed.csv.gz", bench.merchant, kept.job);
    assert_eq!(
        result["files"],
        json!([{ "key": key, "name": "claimed.csv.gz", "rows": 10,
                                         "bytes": bench.s3.get(&key).unwrap().len() }])
    );
    let text = String::from_utf8(unzipped(&bench, &key)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("code,serial,") && lines[0].ends_with(",claimed_customer_id"), "{text}");
    assert_eq!(lines.len(), 11);
    assert!(lines[1].starts_with("A000007,") && lines[1].ends_with(",'=customer A000007"), "{text}");
    let left = bench.db.column("SELECT code FROM codes WHERE claimed ORDER BY 1").await;
    assert_eq!(left.len(), 10);
    assert_eq!(codes_of(&bench, kept.job).await, 10);

    // Codes are gone before the list is written: until then it is under way, not missing.
    let listed = async || {
        let connection = bench.app.db.connection().await.unwrap();
        let exports = tasks::exports(client(&connection), kept.job).await.unwrap();
        exports
            .into_iter()
            .filter(|export| export.kind == "claimed")
            .map(|export| export.status)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [TaskStatus::Done]);
    bench
        .db
        .exec("UPDATE import_tasks SET status = 'active', result = NULL, finished_at = NULL WHERE action = 'rollback'")
        .await;
    assert_eq!(listed().await, [TaskStatus::Active]);
    bench.forget_tasks().await;

    let deleted = imported(&bench, "b.csv", numbered("B", 100)).await;
    claim(deleted.job).await;
    let result = bench.done(deleted.job, Ask::Rollback(Claimed::Delete)).await;
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(100), &json!(0)));
    assert_eq!(result["files"], json!([]));
    assert_eq!(codes_of(&bench, deleted.job).await, 0);
    assert_eq!(bench.codes().await, 10);
}

/// Codes that were changed lie elsewhere in the heap, some of them in what another job's rollback has left.
#[tokio::test(flavor = "multi_thread")]
async fn codes_that_were_moved_are_found() {
    let bench = Bench::new().await;
    let first = imported(&bench, "a.csv", noise(20_000)).await;
    let second = imported(&bench, "b.csv", numbered("B", 20_000)).await;
    let third = imported(&bench, "c.csv", numbered("C", 20_000)).await;
    bench.done(first.job, KEEP).await;
    for _ in 0..3 {
        bench
            .db
            .exec(&format!(
                "UPDATE codes SET activated = true WHERE import_job_id = '{}' AND code LIKE '%0'",
                second.job
            ))
            .await;
    }
    let result = bench.done(second.job, KEEP).await;
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(20_000), &json!(0)));
    assert_eq!((codes_of(&bench, second.job).await, codes_of(&bench, third.job).await), (0, 20_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_completed_imports_of_the_callers_merchants() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", numbered("A", 10));
    for stop in [State::LoadFiles, State::PlanChunks, State::Validate, State::InsertCodes] {
        run.until(stop).await.expect(stop);
        assert!(matches!(bench.ask(run.job, KEEP).await, Asked::WrongState(_)), "{stop:?}");
    }
    run.finish(&bench.actor).await.expect(State::Done);
    let stranger = add_member(&bench.db, add_merchant(&bench.db, "Other").await).await;
    assert_eq!(ask(&bench.app.db, &stranger, run.job, KEEP).await, Asked::NotFound);
    assert_eq!(bench.ask(JobId::generate(), KEEP).await, Asked::NotFound);
    let mut failed = bench.file("bad.csv", "code,sku\nA,\"\n");
    failed.until(State::Done).await.error();
    assert_eq!(bench.ask(failed.job, KEEP).await, Asked::WrongState(Status::Failed));
    assert_eq!(bench.db.int("SELECT count(*) FROM import_tasks").await, 0);
    assert_eq!(bench.codes().await, 10);

    // Months later: neither staging nor anything else but its codes is needed.
    bench.db.exec("UPDATE codes_import_jobs SET finished_at = finished_at - interval '5 months' WHERE status = 'completed'").await;
    let swept = sweep_imports::handle(bench.app.clone(), json!({}), onceload_tests::drive::budget()).await;
    assert_eq!(swept.unwrap().staging_dropped, 1);
    assert_eq!(bench.done(run.job, KEEP).await["codes_deleted"], 10);
}

/// There was nothing to insert, so there is nothing to delete; it is taken back all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_inserted_nothing() {
    let bench = Bench::new().await;
    bench.add_codes(&["A"]).await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.until(State::Done).await.expect(State::Done);
    let result = bench.done(run.job, KEEP).await;
    assert_eq!((&result["codes_deleted"], &result["original_insert_count"]), (&json!(0), &json!(0)));
    assert_eq!((bench.status(run.job).await.as_str(), bench.codes().await), ("rolled_back", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_requests_are_one_and_so_are_its_executions() {
    let bench = Bench::new().await;
    let run = imported(&bench, "a.csv", numbered("A", 3_000)).await;
    let before = epoch(&bench).await;
    let mut asking = Vec::new();
    for _ in 0..16 {
        let (db, actor, job) = (bench.db.pool(1), bench.actor.clone(), run.job);
        asking.push(tokio::spawn(async move { ask(&db, &actor, job, KEEP).await }));
    }
    let mut taken = 0;
    for asked in asking {
        match asked.await.unwrap() {
            Asked::Taken { messages } => {
                assert_eq!(messages.len(), 1);
                taken += 1;
            }
            Asked::UnderWay => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken, 1);
    assert_eq!(bench.ask(run.job, Ask::Rollback(Claimed::Delete)).await, Asked::RollingBack, "not the same");
    let id = bench.db.value("SELECT id FROM import_tasks").await;
    let task = onceload_tests::Upkeep {
        app: bench.app.clone(),
        task: shared::domain::ids::TaskId(id.parse().unwrap()),
        job: run.job,
        action: shared::domain::task::Action::Rollback,
    };
    let mut running = Vec::new();
    for _ in 0..6 {
        let task = task.beside(&bench);
        running.push(tokio::spawn(async move { task.run().await }));
    }
    for done in running {
        match done.await.unwrap() {
            Ok(result) => assert_eq!(result["codes_deleted"], 3_000),
            // Another one has the merchant's lock, or has told what it came to.
            Err(StepError { kind: StepErrorKind::Transient | StepErrorKind::Superseded, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(task.run().await.unwrap()["codes_deleted"], 3_000);
    assert_eq!((epoch(&bench).await, bench.codes().await), (before + 1, 0));
    let announced = bench.outbox(run.job).await.into_iter().filter(|kind| kind == "state_changed").count();
    assert_eq!(announced, 3, "awaiting_approval, completed, rolled_back");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_and_run_again() {
    let bench = Bench::new().await;
    let run = imported(&bench, "a.csv", noise(300_000)).await;
    let task = bench.task(run.job, KEEP).await;
    for _ in 0..2 {
        let mut process = Process::start(&bench, "rollback-import", &input(&task));
        let deleting = "SELECT count(*) > 0 FROM pg_stat_activity
                         WHERE datname = current_database() AND query LIKE '-- rollback.delete%' AND state = 'active'";
        bench.db.until("codes are deleted", deleting).await;
        process.kill();
        let gone = "SELECT count(*) = 0 FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'onceload rollback'";
        bench.db.until("the backend is gone", gone).await;
        assert_eq!((bench.codes().await, bench.status(run.job).await.as_str()), (300_000, "completed"));
    }
    assert_eq!(task.run().await.unwrap()["codes_deleted"], 300_000);
    assert_eq!((bench.codes().await, bench.status(run.job).await.as_str()), (0, "rolled_back"));
}

/// Killed after its commit, before the claimed codes were listed: the next run lists them.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_commit_is_made_up_for() {
    let bench = Bench::new().await;
    let run = imported(&bench, "a.csv", numbered("A", 20)).await;
    bench.db.exec("UPDATE codes SET claimed = true WHERE code = 'A000003'").await;
    let task = bench.task(run.job, KEEP).await;
    let key = format!("reports/{}/{}/claimed.csv.gz", bench.merchant, run.job);
    bench.s3.refuse_writes(true);
    let error = task.run().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    assert_eq!((bench.status(run.job).await.as_str(), bench.codes().await), ("rolled_back", 1));
    assert!(bench.s3.get(&key).is_none());
    bench.s3.refuse_writes(false);
    let result = task.run().await.unwrap();
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(19), &json!(1)));
    assert!(String::from_utf8(unzipped(&bench, &key)).unwrap().contains("A000003"));
}

/// One that was given up gives the merchant back, and its ghost deletes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn given_up() {
    let bench = Bench::new().await;
    let run = imported(&bench, "a.csv", numbered("A", 50)).await;
    let ghost = bench.task(run.job, KEEP).await;
    // The ghost has deleted and stands before its last statements.
    let mut blocker = bench.db.connect().await;
    let held = blocker.transaction().await.unwrap();
    held.batch_execute("SELECT FROM merchants FOR UPDATE").await.unwrap();
    let running = {
        let ghost = ghost.beside(&bench);
        tokio::spawn(async move { ghost.run().await })
    };
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                  WHERE datname = current_database() AND query LIKE '-- rollback.raise_epoch%' AND wait_event_type = 'Lock'";
    bench.db.until("the ghost waits", waits).await;
    let failure = StepError::new(StepErrorKind::TimeBudgetExceeded, "it takes too long");
    let given_up = ghost.give_up(&failure).await;
    assert_eq!(
        (&given_up["error"], &given_up["cause"]),
        (&json!("TimeBudgetExceeded"), &json!("it takes too long"))
    );
    held.rollback().await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(bench.codes().await, 50, "all or nothing");
    let job = bench.job(run.job).await;
    assert_eq!(
        (&job["status"], &job["phase"], &job["leased"]),
        (&json!("completed"), &json!("completed"), &json!(false))
    );
    assert_eq!(ghost.run().await.unwrap_err().kind, StepErrorKind::Superseded);
    assert_eq!(ghost.give_up(&failure).await["error"], "Superseded", "once");

    // Asked again it is another task.
    let again = bench.task(run.job, KEEP).await;
    assert_ne!(again.task, ghost.task);
    assert_eq!(ghost.give_up(&failure).await["error"], "Superseded", "and the old one takes nothing from it");
    assert_eq!(bench.job(run.job).await["leased"], true);
    assert_eq!(again.run().await.unwrap()["codes_deleted"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn against_another_import_of_the_merchant() {
    let bench = Bench::new().await;
    let done = imported(&bench, "a.csv", numbered("A", 40)).await;
    // Half of it are the codes of the first import.
    let mut text = numbered("A", 20);
    text.push_str(numbered("B", 20).strip_prefix("code\n").unwrap());
    let mut running = bench.file("b.csv", text);
    running.until(State::PlanChunks).await.expect(State::PlanChunks);
    assert_eq!(bench.ask(done.job, KEEP).await, Asked::MerchantBusy { by: Some(running.job) });
    running.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(running.clean, 20);

    // It waits for a person, so the merchant is free; and while one is rolled back, the other can't be approved.
    let task = bench.task(done.job, KEEP).await;
    let busy = running.decide_approval(&bench.actor, 20, false).await;
    assert_eq!(busy, shared::db::decisions::Decision::MerchantBusy { by: Some(done.job) });
    let mut third = bench.file("c.csv", numbered("C", 5));
    third.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    assert_eq!(task.run().await.unwrap()["codes_deleted"], 40);

    running.approve(&bench.actor).await;
    let error = running.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::CountMismatch, "{error}");
    assert_eq!(bench.codes().await, 0);
    running.at = State::PlanChunks;
    running.finish(&bench.actor).await.expect(State::Done);
    assert_eq!((running.clean, bench.codes().await), (40, 40), "what was duplicate is clean now");
    third.at = State::Open;
    third.finish(&bench.actor).await.expect(State::Done);
}

/// Many rounds of rollback against approval: whoever takes the merchant first, no code is there that shouldn't be.
#[tokio::test(flavor = "multi_thread")]
async fn rollback_against_approval() {
    let bench = Bench::new().await;
    for round in 0..8 {
        let name = format!("R{round}-");
        let old = imported(&bench, &format!("{round}a.csv"), numbered(&name, 30)).await;
        let mut new = bench.file(&format!("{round}b.csv"), numbered(&name, 60));
        new.until(State::InsertCodes).await.expect(State::InsertCodes);
        let before = bench.codes().await;
        let rolling = {
            let (db, actor, job) = (bench.db.pool(1), bench.actor.clone(), old.job);
            tokio::spawn(async move { ask(&db, &actor, job, KEEP).await })
        };
        let decision = new.decide_approval(&bench.actor, 30, true).await;
        let approved = matches!(decision, shared::db::decisions::Decision::Taken { .. });
        match rolling.await.unwrap() {
            Asked::Taken { .. } => {
                assert!(!approved, "both have the merchant");
                let sql = format!(
                    "SELECT id FROM import_tasks WHERE job_id = '{}' AND action = 'rollback'",
                    old.job
                );
                let id = bench.db.value(&sql).await;
                let task = onceload_tests::Upkeep {
                    app: bench.app.clone(),
                    task: shared::domain::ids::TaskId(id.parse().unwrap()),
                    job: old.job,
                    action: shared::domain::task::Action::Rollback,
                };
                task.run().await.unwrap();
                new.finish(&bench.actor).await.expect(State::Done);
                assert_eq!(bench.codes().await, before + 30);
            }
            Asked::MerchantBusy { .. } => {
                assert!(approved, "{decision:?}");
                new.until(State::Done).await.expect(State::Done);
                assert_eq!(bench.codes().await, before + 30);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs WHERE leased").await, 0);
}

/// What was exported stays fetchable after the rollback, and can still be made while staging is there.
#[tokio::test(flavor = "multi_thread")]
async fn exports_outlive_it() {
    let bench = Bench::new().await;
    let run = imported(&bench, "a.csv", "code\nA\nA\nB\n".to_owned()).await;
    bench.done(run.job, KEEP).await;
    let exported = bench.done(run.job, Ask::Export(ExportKind::Report)).await;
    assert_eq!(exported["rows"], 3);
    assert_eq!(bench.ask(run.job, Ask::Verify).await, Asked::WrongState(Status::RolledBack));
}
