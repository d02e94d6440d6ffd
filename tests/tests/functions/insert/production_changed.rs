//! Production changes between marking and insert: another job is rolled back, or codes appear.

use onceload_tests::files::numbered;
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;

async fn add_numbered_codes(world: &World, range: std::ops::Range<u32>) {
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.codes (merchant_id, code) SELECT '{}', 'N' || lpad(i::text, 6, '0') FROM generate_series({}, {}) i",
            world.merchant,
            range.start,
            range.end - 1
        ))
        .await;
}

async fn import_approved(world: &World, name: &str, text: String) -> Run {
    let run = world.import_until_approval(name, text).await;
    run.approve(&world.actor).await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_another_job_marks_again_and_asks_again() {
    let world = World::new().await;
    add_numbered_codes(&world, 0..10).await;
    let mut run = import_approved(&world, "a.csv", numbered("N", 0..30)).await;
    assert_eq!(run.clean, 20);
    // A rollback deletes its codes and raises the epoch in one transaction.
    world
        .db
        .exec(&format!(
            "BEGIN; DELETE FROM onceload.codes WHERE code < 'N000005';
             UPDATE onceload.merchants SET codes_epoch = codes_epoch + 1 WHERE id = '{}'; COMMIT",
            world.merchant
        ))
        .await;
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::CountMismatch, "{error}");
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["phase"]), (&json!("checking"), &json!("recheck")));
    assert_eq!(job["task_token"], json!(null));
    assert_eq!(
        run.insert().await.unwrap_err().kind,
        StepErrorKind::CountMismatch,
        "not before it is marked again"
    );
    run.at = State::PlanChunks;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(run.clean, 25);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["approved_at"]), (&json!("awaiting_approval"), &json!(null)));
    let why =
        "The approval of 20 clean codes is void: 25 are clean now. Look at the counts again, then approve.";
    assert_eq!(job["error_message"], json!(why));
    run.approve(&world.actor).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["error_message"], json!(null));
    assert_eq!(world.count_codes().await, 30);
    assert_eq!(world.read_job(run.job).await["recheck_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_before_the_approval_marks_again() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", numbered("N", 0..30)).await;
    world.db.exec("UPDATE onceload.merchants SET codes_epoch = codes_epoch + 1").await;
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["recheck_count"], 1);
    assert_eq!(world.count_codes().await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_late_duplicates_are_skipped_and_recorded() {
    let world = World::new().await;
    let mut run = import_approved(&world, "a.csv", numbered("N", 0..1000)).await;
    // An approval covers late duplicates up to one in a hundred.
    add_numbered_codes(&world, 100..110).await;
    let inserted = run.insert().await.unwrap();
    assert_eq!((inserted.codes_inserted, inserted.late_duplicates), (990, 10));
    run.until(State::Done).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!(
        (&job["codes_inserted"], &job["late_duplicates"], &job["total_codes_to_insert"]),
        (&json!(990), &json!(10), &json!(1000))
    );
    assert_eq!(job["verification"]["verified"], true, "{}", job["verification"]);
    let late = world
        .db
        .column(&format!(
            "SELECT code FROM onceload.codes_check_temp('{}') WHERE late_dup ORDER BY 1",
            run.job
        ))
        .await;
    let expected: Vec<String> = (100..110).map(|i| format!("N{i:06}")).collect();
    assert_eq!(late, expected, "recorded, not just counted");
    assert_eq!(
        world
            .db
            .int(&format!("SELECT count(*) FROM onceload.codes WHERE import_job_id = '{}'", run.job))
            .await,
        990
    );
    assert_eq!(world.count_codes().await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_late_duplicates_ask_again_and_fail_the_fourth_time() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", numbered("N", 0..1000));
    for round in 0..4u32 {
        run.until(State::InsertCodes).await.expect(State::InsertCodes);
        run.approve(&world.actor).await;
        add_numbered_codes(&world, round * 20..round * 20 + 20).await;
        let before = world.count_codes().await;
        let error = run.insert().await.unwrap_err();
        assert_eq!(error.kind, StepErrorKind::CountMismatch, "{error}");
        assert_eq!(world.count_codes().await, before, "all or nothing");
        run.at = State::PlanChunks;
    }
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::CountMismatch);
    assert_eq!(world.read_status(run.job).await, "failed");
    assert_eq!(world.count_codes().await, 80);
}

/// Codes appear before the validation: a few are counted, many mark the import again.
#[tokio::test(flavor = "multi_thread")]
async fn validation_compares_with_production_once_more() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", numbered("N", 0..1000));
    run.until(State::Validate).await.expect(State::Validate);
    add_numbered_codes(&world, 0..5).await;
    let validation = run.validate().await.unwrap();
    assert_eq!((&validation["valid"], &validation["new_db_duplicates_found"]), (&json!(true), &json!(5)));
    add_numbered_codes(&world, 5..50).await;
    assert_eq!(run.validate().await.unwrap_err().kind, StepErrorKind::CountMismatch);
    run.at = State::PlanChunks;
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["database_duplicates"], &job["codes_inserted"]), (&json!(50), &json!(950)));
}

/// Another writer inserts codes during the insert; none is lost, and none is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_neither_lose_nor_duplicate_a_code() {
    let world = World::new().await;
    let mut run = import_approved(&world, "a.csv", numbered("N", 0..50_000)).await;
    let writer = {
        let (client, merchant) = (world.db.connect().await, world.merchant);
        tokio::spawn(async move {
            let mut written = 0;
            for i in 0..200 {
                // Every other code is one of the import's, from its end.
                let code = if i % 2 == 0 { format!("N{:06}", 49_999 - i) } else { format!("W{i}") };
                let sql = format!(
                    "INSERT INTO onceload.codes (merchant_id, code) VALUES ('{merchant}', '{code}') ON CONFLICT DO NOTHING"
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
    assert_eq!(world.count_codes().await, 50_000 + others);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["verification"]["verified"], true);
}
