//! A restart of the server empties unlogged staging: it is noticed and loaded again, three times at most.

use crate::bad_files::noise;
use futures_util::future::join_all;
use onceload_tests::server::PrivateServer;
use onceload_tests::{Bench, State};
use serde_json::json;
use shared::db::decisions::Decision;
use shared::domain::step::StepErrorKind;

/// What a restart does to unlogged tables.
async fn lose_staging(bench: &Bench) {
    let tables = bench
        .db
        .column(
            "SELECT format('onceload_staging.%I', relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE nspname = 'onceload_staging' AND relkind = 'r'",
        )
        .await;
    assert!(!tables.is_empty());
    bench.db.exec(&format!("TRUNCATE {}", tables.join(", "))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_lost_in_each_phase_is_loaded_again() {
    let bench = Bench::new().await;
    bench.add_codes(&["OLD"]).await;
    for (i, stop) in [State::MarkDuplicates, State::Validate, State::InsertCodes].into_iter().enumerate() {
        let mut run =
            bench.file(&format!("{i}.csv"), format!("code,points\nA{i},1\nB{i},x\nA{i},2\nOLD,3\n"));
        run.until(stop).await.expect(stop);
        lose_staging(&bench).await;
        if stop == State::InsertCodes {
            run.approve(&bench.actor).await;
            let error = run.insert().await.unwrap_err();
            assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
            let job = bench.job(run.job).await;
            assert_eq!(
                (&job["status"], &job["approved_at"]),
                (&json!("loading"), &json!(null)),
                "the approval is void"
            );
            run.at = State::Open;
        } else {
            let error = run.step().await.unwrap_err();
            assert_eq!(error.kind, StepErrorKind::StagingLost, "{stop:?}: {error}");
            assert_eq!(bench.status(run.job).await, "loading");
            run.at = State::Open;
        }
        run.finish(&bench.actor).await.expect(State::Done);
        let job = bench.job(run.job).await;
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
        let rejects = format!("SELECT count(*) FROM import_rejects WHERE job_id = '{}'", run.job);
        assert_eq!(bench.db.int(&rejects).await, 1, "a reject is kept once");
    }
    assert_eq!(bench.codes().await, 4);
}

/// All chunks notice the same loss at once: it is one loss.
#[tokio::test(flavor = "multi_thread")]
async fn one_loss_counts_once() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nB\nC\nD\nE\nF\n");
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&bench.db, &["B", "C", "D", "E", "F"]).await;
    run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
    assert_eq!(run.chunks.len(), 6);
    lose_staging(&bench).await;
    // All of them have seen the job as it should be before the first says that it isn't.
    let chunks = run.chunks.iter().map(|chunk| {
        let run =
            onceload_tests::Run { app: onceload_tests::fixture::app(&bench.db, &bench.s3), ..run.clone() };
        async move { run.mark(*chunk).await }
    });
    for marked in join_all(chunks).await {
        assert_eq!(marked.unwrap_err().kind, StepErrorKind::StagingLost);
    }
    assert_eq!(bench.job(run.job).await["restage_count"], 1);
    run.at = State::Open;
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(run.chunks.len(), 6);
    assert_eq!(bench.codes().await, 6);
}

/// Another chunk records the loss, and the plan goes with it, after this one has looked at the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_plan_is_gone_is_staging_lost() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
    let other = bench.db.connect().await;
    let loss = format!(
        "BEGIN;
         DELETE FROM import_chunks WHERE job_id = '{0}';
         UPDATE codes_import_jobs SET status = 'loading', staging_created_at = NULL WHERE id = '{0}'",
        run.job
    );
    other.batch_execute(&loss).await.unwrap();
    let marking = tokio::spawn({
        let run = run.clone();
        async move { run.mark(run.chunks[0]).await }
    });
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'";
    bench.db.until("the chunk waits", waits).await;
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(marking.await.unwrap().unwrap_err().kind, StepErrorKind::StagingLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_gone_are_staging_lost() {
    let bench = Bench::new().await;
    for stop in [State::PlanChunks, State::MarkDuplicates, State::Validate] {
        let mut run = bench.file(&format!("{stop:?}.csv"), format!("code\n{stop:?}\n"));
        run.until(stop).await.expect(stop);
        let job = run.job.0.simple().to_string();
        bench.db.exec(&format!("DROP TABLE onceload_staging.b_{job}_00")).await;
        run.finish(&bench.actor).await.expect(State::Done);
        assert_eq!(bench.job(run.job).await["restage_count"], 1, "{stop:?}");
    }
    assert_eq!(bench.codes().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_loss_fails_the_import() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nB\n");
    for _ in 0..3 {
        run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
        lose_staging(&bench).await;
        assert_eq!(run.step().await.unwrap_err().kind, StepErrorKind::StagingLost);
        run.at = State::Open;
    }
    run.until(State::MarkDuplicates).await.expect(State::MarkDuplicates);
    lose_staging(&bench).await;
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::StagingLost);
    assert_eq!(bench.status(run.job).await, "failed");
    assert_eq!(bench.codes().await, 0);
    // A person looks, and has it tried once more.
    assert!(matches!(run.retry(&bench.actor).await, Decision::Taken { .. }));
    let mut again = onceload_tests::Run::of_job(&bench.app, run.job, 2);
    again.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, 2);
}

/// kill -9 of a real server between marking and insert, and its recovery.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_between_marking_and_insert() {
    let mut server = PrivateServer::start().await;
    let mut bench = Bench::on(server.server().database().await).await;
    bench.add_codes(&["OLD"]).await;
    let mut text = noise(20_000);
    text.push_str("OLD\n");
    let mut run = bench.file("a.csv", text);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&bench.actor).await;
    server.crash();
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "while it is away: {error}");
    server.run().await;
    bench.db.reconnect().await;
    assert_eq!(
        bench.db.int(&format!("SELECT count(*) FROM codes_check_temp('{}')", run.job)).await,
        0,
        "unlogged"
    );
    let error = run.insert().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
    run.at = State::Open;
    run.finish(&bench.actor).await.expect(State::Done);
    let job = bench.job(run.job).await;
    let counts = ["records", "staged", "database_duplicates", "codes_inserted", "restage_count"];
    assert_eq!(counts.map(|c| job[c].as_i64().unwrap()), [20_001, 20_001, 1, 20_000, 1]);
    assert_eq!(bench.codes().await, 20_001);
}
