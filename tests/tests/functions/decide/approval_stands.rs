//! An approval stands where an import was loaded or marked again and the very codes are clean that were approved. Else it is void, and
//! a person decides again.

use import_jobs::decide::Decision;
use onceload_tests::concurrency::all_at_once;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::db::jobs;
use shared::db::outbox::Promises;
use shared::domain::status::Status;
use shared::domain::step::StepErrorKind;

/// Loses staging after the approval. The insert notices, and the execution of the next attempt begins.
async fn lose_and_continue(world: &World, run: &mut Run) {
    world.lose_staging().await;
    assert_eq!(run.insert().await.unwrap_err().kind, StepErrorKind::StagingLost);
    *run = run.continued().await.unwrap();
}

/// Another import of the merchant was rolled back after the approval. The insert notices, and the codes are marked again.
async fn roll_back_and_recheck(world: &World, run: &mut Run, changes: &str) {
    world.db.exec(&format!("{changes}; UPDATE onceload.merchants SET codes_epoch = codes_epoch + 1")).await;
    assert_eq!(run.insert().await.unwrap_err().kind, StepErrorKind::CountMismatch);
    run.at = State::PlanChunks;
}

async fn assert_waits_again(world: &World, run: &Run, why: Option<&str>) {
    let job = world.read_job(run.job).await;
    assert_eq!(job["status"], "awaiting_approval");
    let approval =
        ["approved_at", "approved_by", "approved_clean", "approved_checksum"].map(|name| &job[name]);
    assert_eq!(approval, [&json!(null); 4]);
    assert_eq!(job["error_message"].as_str(), why);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_stands_after_lost_staging() {
    let world = World::new().await;
    world.add_codes(&["OLD"]).await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\nA\nOLD\n").await;
    run.approve(&world.actor).await;
    let approved = world.read_job(run.job).await;
    lose_and_continue(&world, &mut run).await;
    // The same approval is taken again while it is compared; another one is not.
    for (stop, status) in [
        (State::LoadFiles, Status::Loading),
        (State::MarkDuplicates, Status::Checking),
        (State::Validate, Status::Checking),
    ] {
        run.until(stop).await.expect(stop);
        let again = run.decide_approval(&world.actor, 2, true).await;
        assert_eq!(again, Decision::Taken { promises: Promises::none() }, "{status:?}");
        assert_eq!(run.decide_approval(&world.actor, 3, true).await, Decision::WrongState(status));
    }
    let validation = run.validate().await.unwrap();
    assert_eq!((&validation["approval_stands"], &validation["total_clean_codes"]), (&json!(true), &json!(2)));
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["phase"]), (&json!("processing"), &json!("inserting")));
    for kept in ["approved_at", "approved_by", "approved_clean", "approved_checksum", "leased"] {
        assert_eq!(job[kept], approved[kept], "{kept}");
    }
    run.until(State::Done).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!(
        (&job["codes_inserted"], &job["restage_count"], &job["attempt"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert_eq!(job["verification"]["verified"], true);
    assert_eq!(world.count_codes().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_stands_after_a_rollback_that_touched_none_of_its_codes() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\nB\nB\nB\n").await;
    assert_eq!(world.read_job(run.job).await["blocked"], true);
    run.approve(&world.actor).await;
    roll_back_and_recheck(&world, &mut run, "SELECT").await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["status"], &job["accept_duplicates"]), (&json!("processing"), &json!(true)));
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["recheck_count"], 1);
    assert_eq!(world.count_codes().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_other_codes_is_void_even_if_they_are_as_many() {
    let world = World::new().await;
    world.add_codes(&["X"]).await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\nX\n").await;
    run.approve(&world.actor).await;
    roll_back_and_recheck(&world, &mut run, "UPDATE onceload.codes SET code = 'A'").await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let why = "The approval of 2 clean codes is void: 2 are clean now, but not the same ones. \
               Look at the counts again, then approve.";
    assert_waits_again(&world, &run, Some(why)).await;
    assert_eq!(run.insert().await.unwrap_err().kind, StepErrorKind::Superseded);
    run.approve(&world.actor).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await, ["A", "B", "X"]);
}

/// Codes are in production when the import is loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_more_codes_than_are_clean_is_void() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\nC\n").await;
    run.approve(&world.actor).await;
    world.add_codes(&["B"]).await;
    lose_and_continue(&world, &mut run).await;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let why =
        "The approval of 3 clean codes is void: 2 are clean now. Look at the counts again, then approve.";
    assert_waits_again(&world, &run, Some(why)).await;
    // Nor does it stand if nothing is left to insert.
    run.approve(&world.actor).await;
    roll_back_and_recheck(
        &world,
        &mut run,
        &format!(
            "INSERT INTO onceload.codes (merchant_id, code) VALUES ('{0}', 'A'), ('{0}', 'C')",
            world.merchant
        ),
    )
    .await;
    run.until(State::Done).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!(
        (&job["status"], &job["codes_inserted"], &job["approved_at"]),
        (&json!("completed"), &json!(0), &json!(null))
    );
}

/// Validation is delivered twice, one copy beside the other and another one later.
#[tokio::test(flavor = "multi_thread")]
async fn every_copy_of_a_validation_gives_the_answer_that_the_approval_stands() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\nB\nA\n").await;
    run.approve(&world.actor).await;
    lose_and_continue(&world, &mut run).await;
    run.until(State::Validate).await.expect(State::Validate);
    let copies = (0..6).map(|_| {
        let run = run.with_own_connections(&world);
        async move { run.validate().await }
    });
    let mut answers: Vec<Value> =
        all_at_once(copies).await.into_iter().map(|answer| answer.unwrap()).collect();
    answers.push(run.validate().await.unwrap());
    run.insert().await.unwrap();
    answers.push(run.validate().await.unwrap());
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
        assert_eq!(answer["approval_stands"], true);
    }
    run.at = State::Verify;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(run.validate().await.unwrap_err().kind, StepErrorKind::Superseded, "it is over");
    assert_eq!(world.count_codes().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_wins_over_an_approval_that_stands() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\n").await;
    run.approve(&world.actor).await;
    lose_and_continue(&world, &mut run).await;
    run.until(State::Validate).await.expect(State::Validate);
    assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(run.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(world.read_status(run.job).await, "cancelled");
    assert_eq!(world.count_codes().await, 0);
}

/// A retry and a mend are decisions of a person, who approves what comes of them.
#[tokio::test(flavor = "multi_thread")]
async fn no_approval_stands_after_a_retry() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", "code\nA\n").await;
    run.approve(&world.actor).await;
    run.close_caught("Internal", "broken").await.unwrap();
    assert!(matches!(run.retry(&world.actor).await, Decision::Taken { .. }));
    run = Run::of_job(&world.app, run.job, 2);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_waits_again(&world, &run, None).await;
}

async fn begin(run: Run) -> bool {
    let connection = run.app.db.connection().await.unwrap();
    let next = jobs::begin_next_attempt(&connection, run.job, run.attempt, &run.execution_arn).await;
    next.unwrap().is_some()
}

/// The execution was stopped while it waited, so nobody hears of the approval. The files stay loaded, and the approval stands.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_nobody_heard_goes_on_in_the_next_attempt() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nB\n").await;
    assert!(!begin(run.clone()).await, "a person has to approve");
    run.approve(&world.actor).await;
    let other = Run { execution_arn: "arn:another".into(), ..run.clone() };
    assert!(!begin(other).await, "another execution");
    let begun = all_at_once((0..4).map(|_| begin(run.with_own_connections(&world)))).await;
    assert_eq!(begun.iter().filter(|begun| **begun).count(), 1, "{begun:?}");
    let promised = format!(
        "SELECT payload ->> 'attempt' FROM onceload.outbox WHERE job_id = '{}' AND kind = 'start_execution'",
        run.job
    );
    assert_eq!(world.db.column(&promised).await, ["2"]);
    assert_eq!(
        run.insert().await.unwrap_err().kind,
        StepErrorKind::Superseded,
        "a ghost of the first attempt"
    );
    let mut next = Run::of_job(&world.app, run.job, 2);
    next.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert!(next.files.is_empty(), "they are loaded");
    next.until(State::Done).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 2);
}

/// Once its execution inserts, an import is not begun again behind it: stopped there, it has failed.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_execution_inserts_has_heard_of_its_approval() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nB\n").await;
    run.approve(&world.actor).await;
    let held = world.hold_code("B").await;
    let inserting = tokio::spawn({
        let run = run.with_own_connections(&world);
        async move { run.insert().await }
    });
    world.db.wait_for_blocked("staging.insert").await;
    assert!(!begin(run.with_own_connections(&world)).await);
    held.release().await;
    inserting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_to_insert_what_was_not_approved() {
    let world = World::new().await;
    let client = world.db.connect().await;
    let refused = async |run: &Run, assignments: &str| -> Option<String> {
        let sql = format!("UPDATE onceload.codes_import_jobs SET {assignments} WHERE id = '{}'", run.job);
        let error = client.batch_execute(&sql).await.err()?;
        error.as_db_error().and_then(|error| error.constraint()).map(str::to_owned)
    };
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    let approval =
        "approved_at = now(), approved_clean = total_codes_to_insert, approved_checksum = clean_checksum";
    for change in ["", ", approved_clean = NULL", &format!(", {approval}")] {
        let change = format!("status = 'processing'{change}");
        assert_eq!(refused(&run, &change).await.as_deref(), Some("codes_import_jobs_transition"), "{change}");
    }
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let other = "approved_at = now(), approved_clean = 1, approved_checksum = 5, leased = true, status = 'processing'";
    assert_eq!(refused(&run, other).await.as_deref(), Some("codes_import_jobs_processing_is_approved"));
    assert_eq!(refused(&run, "approved_at = now()").await.as_deref(), Some("codes_import_jobs_approved"));
}
