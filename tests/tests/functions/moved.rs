//! Production moves between marking and insert: a rollback of another job, codes that appear.

use onceload_tests::{Bench, Run, State};
use serde_json::json;
use shared::domain::step::StepErrorKind;
use std::fmt::Write;

fn numbered(range: std::ops::Range<u32>) -> String {
    let mut text = String::from("code\n");
    range.for_each(|i| {
        let _ = writeln!(text, "N{i:06}");
    });
    text
}

async fn appear(bench: &Bench, range: std::ops::Range<u32>) {
    bench
        .db
        .exec(&format!(
            "INSERT INTO codes (merchant_id, code) SELECT '{}', 'N' || lpad(i::text, 6, '0') FROM generate_series({}, {}) i",
            bench.merchant,
            range.start,
            range.end - 1
        ))
        .await;
}

async fn approved(bench: &Bench, name: &str, text: String) -> Run {
    let mut run = bench.file(name, text);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&bench.actor).await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_another_job_asks_for_a_new_marking_and_a_new_approval() {
    let bench = Bench::new().await;
    appear(&bench, 0..10).await;
    let mut run = approved(&bench, "a.csv", numbered(0..30)).await;
    assert_eq!(run.clean, 20);
    // What a rollback does, in one transaction: its codes are gone, the epoch rises.
    bench
        .db
        .exec(&format!(
            "BEGIN; DELETE FROM codes WHERE code < 'N000005';
             UPDATE merchants SET codes_epoch = codes_epoch + 1 WHERE id = '{}'; COMMIT",
            bench.merchant
        ))
        .await;
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::CountMismatch, "{error}");
    let job = bench.job(run.job).await;
    assert_eq!((&job["status"], &job["phase"]), (&json!("checking"), &json!("recheck")));
    assert_eq!(
        (&job["approved_at"], &job["task_token"]),
        (&json!(null), &json!(null)),
        "the approval was for other numbers"
    );
    assert_eq!(run.insert().await.unwrap_err().kind, StepErrorKind::CountMismatch, "and stays void");
    run.at = State::PlanChunks;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(run.clean, 25);
    assert_eq!(bench.status(run.job).await, "awaiting_approval");
    run.approve(&bench.actor).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 30);
    assert_eq!(bench.job(run.job).await["recheck_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_while_it_waits_is_noticed_too() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", numbered(0..30));
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    bench.db.exec("UPDATE merchants SET codes_epoch = codes_epoch + 1").await;
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.job(run.job).await["recheck_count"], 1);
    assert_eq!(bench.codes().await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_late_codes_are_left_out_and_accounted_for() {
    let bench = Bench::new().await;
    let mut run = approved(&bench, "a.csv", numbered(0..1000)).await;
    // One in a hundred is what an approval covers.
    appear(&bench, 100..110).await;
    let inserted = run.insert().await.unwrap();
    assert_eq!((inserted.codes_inserted, inserted.late_duplicates), (990, 10));
    run.until(State::Done).await.expect(State::Done);
    let job = bench.job(run.job).await;
    assert_eq!(
        (&job["codes_inserted"], &job["late_duplicates"], &job["total_codes_to_insert"]),
        (&json!(990), &json!(10), &json!(1000))
    );
    assert_eq!(job["verification"]["verified"], true, "{}", job["verification"]);
    let late = bench
        .db
        .column(&format!("SELECT code FROM codes_check_temp('{}') WHERE late_dup ORDER BY 1", run.job))
        .await;
    let expected: Vec<String> = (100..110).map(|i| format!("N{i:06}")).collect();
    assert_eq!(late, expected, "recorded, not just counted");
    assert_eq!(
        bench.db.int(&format!("SELECT count(*) FROM codes WHERE import_job_id = '{}'", run.job)).await,
        990
    );
    assert_eq!(bench.codes().await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_late_codes_than_that_ask_again_and_the_fourth_time_fails() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", numbered(0..1000));
    for round in 0..4u32 {
        run.until(State::InsertCodes).await.expect(State::InsertCodes);
        run.approve(&bench.actor).await;
        appear(&bench, round * 20..round * 20 + 20).await;
        let before = bench.codes().await;
        let error = run.insert().await.unwrap_err();
        assert_eq!(error.kind, StepErrorKind::CountMismatch, "{error}");
        assert_eq!(bench.codes().await, before, "all or nothing");
        run.at = State::PlanChunks;
    }
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::CountMismatch);
    assert_eq!(bench.status(run.job).await, "failed");
    assert_eq!(bench.codes().await, 80);
}

/// Codes that appear while it is validated: a few are noted, many send it back.
#[tokio::test(flavor = "multi_thread")]
async fn validation_looks_at_production_once_more() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", numbered(0..1000));
    run.until(State::Validate).await.expect(State::Validate);
    appear(&bench, 0..5).await;
    let validation = run.validate().await.unwrap();
    assert_eq!((&validation["valid"], &validation["new_db_duplicates_found"]), (&json!(true), &json!(5)));
    appear(&bench, 5..50).await;
    assert_eq!(run.validate().await.unwrap_err().kind, StepErrorKind::CountMismatch);
    run.at = State::PlanChunks;
    run.finish(&bench.actor).await.expect(State::Done);
    let job = bench.job(run.job).await;
    assert_eq!((&job["database_duplicates"], &job["codes_inserted"]), (&json!(50), &json!(950)));
}

/// Somebody writes codes all the while: nothing is lost, nothing is twice.
#[tokio::test(flavor = "multi_thread")]
async fn writers_go_on_during_the_insert() {
    let bench = Bench::new().await;
    let mut run = approved(&bench, "a.csv", numbered(0..50_000)).await;
    let writer = {
        let (client, merchant) = (bench.db.connect().await, bench.merchant);
        tokio::spawn(async move {
            let mut written = 0;
            for i in 0..200 {
                // Some of the import's own codes, from its end, and others.
                let code = if i % 2 == 0 { format!("N{:06}", 49_999 - i) } else { format!("W{i}") };
                let sql = format!(
                    "INSERT INTO codes (merchant_id, code) VALUES ('{merchant}', '{code}') ON CONFLICT DO NOTHING"
                );
                client.batch_execute(&sql).await.unwrap();
                written += i % 2;
            }
            written
        })
    };
    let inserted = run.insert().await.unwrap();
    let others = i64::from(writer.await.unwrap());
    assert_eq!(inserted.codes_inserted + inserted.late_duplicates, 50_000);
    assert_eq!(bench.codes().await, 50_000 + others);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.job(run.job).await["verification"]["verified"], true);
}
