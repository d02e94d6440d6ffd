//! A crash of the server empties unlogged staging: the import notices it and loads again, at most three times.

use import_jobs::decide::Decision;
use onceload_tests::concurrency::all_at_once;
use onceload_tests::files::noise;
use onceload_tests::server::PrivateServer;
use onceload_tests::{State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn staging_lost_in_any_phase_is_loaded_again() {
    let world = World::new().await;
    world.add_codes(&["OLD"]).await;
    for (i, stop) in [State::MarkDuplicates, State::Validate, State::InsertCodes].into_iter().enumerate() {
        let mut run =
            world.import_file(&format!("{i}.csv"), format!("code,points\nA{i},1\nB{i},x\nA{i},2\nOLD,3\n"));
        run.until(stop).await.expect(stop);
        world.lose_staging().await;
        if stop == State::InsertCodes {
            run.approve(&world.actor).await;
            let error = run.insert().await.unwrap_err();
            assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
            let job = world.read_job(run.job).await;
            assert_eq!((&job["status"], &job["approved_clean"]), (&json!("loading"), &json!(1)));
            run.at = State::Continue;
        } else {
            let error = run.step().await.unwrap_err();
            assert_eq!(error.kind, StepErrorKind::StagingLost, "{stop:?}: {error}");
            assert_eq!(world.read_status(run.job).await, "loading");
            run.at = State::Continue;
        }
        run.finish(&world.actor).await.expect(State::Done);
        let job = world.read_job(run.job).await;
        let counts = [
            "records",
            "staged",
            "rejected",
            "internal_duplicates",
            "database_duplicates",
            "codes_inserted",
            "restage_count",
        ];
        assert_eq!(counts.map(|c| job[c].as_i64().unwrap()), [4, 3, 1, 1, 1, 1, 1], "{stop:?}");
        let rejects = format!("SELECT count(*) FROM onceload.import_rejects WHERE job_id = '{}'", run.job);
        assert_eq!(world.db.int(&rejects).await, 1, "a reject is kept once");
    }
    assert_eq!(world.count_codes().await, 4);
}

/// All chunks notice the same loss at once, and it counts once.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_all_chunks_notice_counts_once() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\nC\nD\nE\nF\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["B", "C", "D", "E", "F"]).await;
    run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
    assert_eq!(run.chunks.len(), 6);
    world.lose_staging().await;
    // Every chunk has read the job before the first one records the loss.
    let chunks = run.chunks.iter().map(|chunk| {
        let (run, chunk) = (run.with_own_connections(&world), *chunk);
        async move { run.mark(chunk).await }
    });
    for marked in all_at_once(chunks).await {
        assert_eq!(marked.unwrap_err().kind, StepErrorKind::StagingLost);
    }
    let job = world.read_job(run.job).await;
    assert_eq!((&job["restage_count"], &job["attempt"]), (&json!(1), &json!(2)));
    assert_eq!(world.read_outbox(run.job).await, ["start_execution"], "one attempt follows");
    run.at = State::Continue;
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(run.chunks.len(), 6);
    assert_eq!(world.count_codes().await, 6);
}

/// The step that finds the loss hands the import over: the lease stays, the next attempt's execution is promised, and what the old
/// one still tries is refused.
#[tokio::test(flavor = "multi_thread")]
async fn lost_staging_is_loaded_again_by_the_next_attempt() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::Validate).await.expect(State::Validate);
    world.lose_staging().await;
    assert_eq!(run.step().await.unwrap_err().kind, StepErrorKind::StagingLost);
    let job = world.read_job(run.job).await;
    assert_eq!(
        (&job["attempt"], &job["leased"], &job["execution_arn"]),
        (&json!(2), &json!(true), &json!(null))
    );
    let promised = format!("SELECT payload ->> 'attempt' FROM onceload.outbox WHERE job_id = '{}'", run.job);
    assert_eq!(world.db.column(&promised).await, ["2"]);
    assert_eq!(run.step().await.unwrap_err().kind, StepErrorKind::StagingLost, "the step is repeated");
    let mut waiter = world.import_file("b.csv", "code\nB\n");
    waiter.until(State::LoadFiles).await.expect(State::WaitForMerchant);

    let mut next = run.continued().await.unwrap();
    next.until(State::PlanChunks).await.expect(State::PlanChunks);
    assert_eq!(next.attempt, 2);
    assert_eq!(run.step().await.unwrap_err().kind, StepErrorKind::Superseded);
    assert_eq!(run.close_caught("Superseded", "").await.unwrap().status, None, "it has no job any more");
    assert_eq!(world.read_job(run.job).await["leased"], true);
    next.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 1);
}

/// Another chunk records the loss and deletes the plan after this one has read the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_plan_was_deleted_reports_lost_staging() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
    let other = world.db.connect().await;
    let loss = format!(
        "BEGIN;
         DELETE FROM onceload.import_chunks WHERE job_id = '{0}';
         UPDATE onceload.codes_import_jobs SET status = 'loading', phase = 'staging_lost', attempt = 2, staging_created_at = NULL
          WHERE id = '{0}'",
        run.job
    );
    other.batch_execute(&loss).await.unwrap();
    let marking = tokio::spawn({
        let run = run.clone();
        async move { run.mark(run.chunks[0]).await }
    });
    world.db.wait_for_blocked("chunks.lock").await;
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(marking.await.unwrap().unwrap_err().kind, StepErrorKind::StagingLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_staging_tables_are_reported_as_lost_staging() {
    let world = World::new().await;
    for stop in [State::PlanChunks, State::MarkDuplicates, State::Validate] {
        let mut run = world.import_file(&format!("{stop:?}.csv"), format!("code\n{stop:?}\n"));
        run.until(stop).await.expect(stop);
        let job = run.job.0.simple().to_string();
        world.db.exec(&format!("DROP TABLE onceload_staging.b_{job}_00")).await;
        run.finish(&world.actor).await.expect(State::Done);
        assert_eq!(world.read_job(run.job).await["restage_count"], 1, "{stop:?}");
    }
    assert_eq!(world.count_codes().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fourth_loss_fails_the_import() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nB\n");
    for _ in 0..3 {
        run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
        world.lose_staging().await;
        assert_eq!(run.step().await.unwrap_err().kind, StepErrorKind::StagingLost);
        run.at = State::Continue;
    }
    run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
    world.lose_staging().await;
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::StagingLost);
    assert_eq!(world.read_status(run.job).await, "failed");
    assert_eq!(world.count_codes().await, 0);
    // An operator retries the import.
    assert!(matches!(run.retry(&world.actor).await, Decision::Taken { .. }));
    let mut again = onceload_tests::Run::of_job(&world.app, run.job, 6);
    again.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 2);
}

/// A real server is killed between marking and insert, and recovers.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_crash_between_marking_and_insert_reloads_the_import() {
    let mut server = PrivateServer::start().await;
    let mut world = World::with_database(server.server().create_database().await).await;
    world.add_codes(&["OLD"]).await;
    let mut text = noise(20_000);
    text.push_str("OLD\n");
    let mut run = world.import_until_approval("a.csv", text).await;
    run.approve(&world.actor).await;
    server.crash().await;
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "while it is away: {error}");
    server.run().await;
    world.db.reconnect().await;
    assert_eq!(world.count_staged(run.job).await, 0, "unlogged");
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
    run.at = State::Continue;
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    let counts = ["records", "staged", "database_duplicates", "codes_inserted", "restage_count"];
    assert_eq!(counts.map(|c| job[c].as_i64().unwrap()), [20_001, 20_001, 1, 20_000, 1]);
    assert_eq!(world.count_codes().await, 20_001);
}
