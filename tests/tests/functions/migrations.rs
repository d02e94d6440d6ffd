//! `run-migration`: the same content with the same mapping is one run while it is active.

use crate::queue::{elsewhere, subject};
use lambda_http::Request;
use onceload_tests::fixture::add_member;
use onceload_tests::http::{Said, request, said, with_key};
use onceload_tests::{Bench, Run, State};
use serde_json::{Value, json};
use shared::db::decisions::{Actor, Decision};
use shared::domain::ids::JobId;
use shared::edge::App;

fn post(actor: &Actor, body: &Value) -> Request {
    request("POST", "/migrations/run", Some(&subject(actor)), &body.to_string())
}

fn body_for(bench: &Bench, file: &str) -> Value {
    json!({ "merchant_id": bench.merchant, "file": file, "mapping": { "code": "Voucher" } })
}

async fn ask(app: &App, request: Request) -> Said {
    said(run_migration::handle(app.clone(), request).await)
}

fn job_of(said: &Said, status: u16) -> JobId {
    assert_eq!(said.status, status, "{said:?}");
    serde_json::from_value(said.body["jobId"].clone()).expect("jobId")
}

async fn state(bench: &Bench, job: JobId) -> String {
    bench.db.value(&format!("SELECT status FROM migration_jobs WHERE id = '{job}'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_at_once_one_runs() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "Voucher\nA\nB\n");
    let calls = (0..64).map(|_| {
        let (app, request) = (elsewhere(&bench), post(&bench.actor, &body_for(&bench, &key)));
        tokio::spawn(async move { ask(&app, request).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.expect("a call"));
    }
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|said| said.status == 202);
    assert_eq!((won.len(), lost.len()), (1, 63), "{answers:?}");
    let job = job_of(won[0], 202);
    assert_eq!(
        won[0].body,
        json!({ "jobId": job, "status": "pending", "statusUrl": format!("/imports/{job}") })
    );
    for said in lost {
        assert_eq!(
            (said.status, &said.body),
            (200, &json!({ "jobId": job, "message": "Job already in progress" }))
        );
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 1);
    assert_eq!(bench.db.int("SELECT count(*) FROM migration_jobs").await, 1);
    assert_eq!(bench.outbox(job).await, ["start_execution"]);

    // Active until the very end, in the same transactions as the job; then it can be run again.
    let again = || ask(&bench.app, post(&bench.actor, &body_for(&bench, &key)));
    let mut run = Run::of_job(&bench.app, job, 1);
    for (stop, expected) in [(State::LoadFiles, "processing"), (State::InsertCodes, "processing")] {
        run.until(stop).await.expect(stop);
        assert_eq!(state(&bench, job).await, expected, "{stop:?}");
        assert_eq!(job_of(&again().await, 200), job);
    }
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(state(&bench, job).await, "completed");
    let second = job_of(&again().await, 202);
    assert_ne!(second, job);
    let keys = "SELECT count(DISTINCT base_idempotency_key) || ' ' || count(DISTINCT idempotency_key) FROM migration_jobs";
    assert_eq!(bench.db.value(keys).await, "1 2");
}

/// The same content under many names: the sources differ, the base key alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_copies_one_runs() {
    let bench = Bench::new().await;
    let calls = (0..64).map(|n| {
        let key = bench.stage(&format!("copy-{n}.csv"), "Voucher\nA\nB\n");
        let (app, request) = (elsewhere(&bench), post(&bench.actor, &body_for(&bench, &key)));
        tokio::spawn(async move { ask(&app, request).await })
    });
    let mut jobs = Vec::new();
    let mut won = 0;
    for call in calls.collect::<Vec<_>>() {
        let said = call.await.expect("a call");
        won += usize::from(said.status == 202);
        jobs.push(said.body["jobId"].clone());
    }
    jobs.dedup();
    assert_eq!((won, jobs.len()), (1, 1), "{jobs:?}");
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_same_run() {
    let bench = Bench::new().await;
    let text = "Voucher;Points\nA;1\n";
    let key = bench.stage("a.csv", text);
    let body = json!({ "merchant_id": bench.merchant, "file": key,
                       "mapping": { "code": " VOUCHER", "points": "points" } });
    let first = job_of(&ask(&bench.app, post(&bench.actor, &body)).await, 202);
    // Written otherwise, in another order.
    let same = format!(
        r#"{{"mapping":{{"points":"Points","code":"Voucher"}},"file":"{key}","merchant_id":"{}"}}"#,
        bench.merchant
    );
    let request_of = |body: &str| request("POST", "/migrations/run", Some(&subject(&bench.actor)), body);
    assert_eq!(job_of(&ask(&bench.app, request_of(&same)).await, 200), first);
    // The same bytes under another name, and the same object by another member of the merchant.
    let copy = bench.stage("copy.csv", text);
    let mut other = body.clone();
    other["file"] = json!(copy);
    assert_eq!(job_of(&ask(&bench.app, post(&bench.actor, &other)).await, 200), first);
    let colleague = add_member(&bench.db, bench.merchant).await;
    assert_eq!(job_of(&ask(&bench.app, post(&colleague, &body)).await, 200), first);
    // Another mapping, and other bytes under the same name.
    let mut other = body.clone();
    other["mapping"] = json!({ "code": "Voucher" });
    let second = job_of(&ask(&bench.app, post(&bench.actor, &other)).await, 202);
    bench.stage("a.csv", "Voucher;Points\nB;1\n");
    let third = job_of(&ask(&bench.app, post(&bench.actor, &body)).await, 202);
    assert!(first != second && second != third);

    // Each runs what it was asked for, in its turn.
    for job in [first, second, third] {
        Run::of_job(&bench.app, job, 1).finish(&bench.actor).await.expect(State::Done);
    }
    let points = format!("SELECT points FROM codes WHERE import_job_id = '{first}'");
    assert_eq!(bench.db.value(&points).await, "1");
    assert_eq!(bench.db.column("SELECT code FROM codes ORDER BY code").await, ["A", "B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_of_a_migration_free_it() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "Voucher\nA\n");
    let again = || ask(&bench.app, post(&bench.actor, &body_for(&bench, &key)));
    let first = job_of(&again().await, 202);
    let run = Run { job: first, ..Run::of_job(&bench.app, first, 1) };
    assert!(matches!(run.cancel(&bench.actor).await, Decision::Taken { .. }));
    assert_eq!(state(&bench, first).await, "cancelled");
    let second = job_of(&again().await, 202);
    let mut run = Run::of_job(&bench.app, second, 1);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let broken = shared::domain::step::StepError::internal("broken");
    run.close_stopped(&broken).await.expect("close");
    assert_eq!(state(&bench, second).await, "failed");
    let third = job_of(&again().await, 202);
    // The failed one can't be retried beside it.
    assert_eq!(run.retry(&bench.actor).await, Decision::SourceActive);
    assert_eq!(state(&bench, second).await, "failed");
    // With a key, the answer is kept even when the run is over.
    let keyed = || with_key(post(&bench.actor, &body_for(&bench, &key)), "run-1");
    assert_eq!(job_of(&ask(&bench.app, keyed()).await, 200), third);
    Run::of_job(&bench.app, third, 1).finish(&bench.actor).await.expect(State::Done);
    let replay = ask(&bench.app, keyed()).await;
    assert_eq!((job_of(&replay, 200), replay.header("idempotent-replayed")), (third, Some("true")));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "Voucher\nA\n");
    for (body, expected) in [
        (
            json!({ "merchant_id": bench.merchant, "file": bench.stage_key("no.csv"), "mapping": { "code": "x" } }),
            (422, "/file"),
        ),
        (
            json!({ "merchant_id": bench.merchant, "file": "uploads/x/a.csv", "mapping": { "code": "x" } }),
            (422, "/file"),
        ),
        (json!({ "merchant_id": bench.merchant, "file": key, "mapping": {} }), (422, "/mapping")),
        (
            json!({ "merchant_id": bench.merchant, "file": key, "mapping": { "colour": "x" } }),
            (422, "/mapping/colour"),
        ),
        (json!({ "merchant_id": bench.merchant, "file": key, "mapping": ["x"] }), (422, "/mapping")),
        (json!({ "merchant_id": uuid::Uuid::nil(), "file": key, "mapping": { "code": "x" } }), (404, "-")),
    ] {
        assert_eq!(ask(&bench.app, post(&bench.actor, &body)).await.problem(), expected, "{body}");
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM migration_jobs").await, 0);
}

/// The first answer is the answer, also when the file has gone since; without the key it is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_needs_no_file() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "Voucher\nA\n");
    let asked = || post(&bench.actor, &body_for(&bench, &key));
    let first = ask(&bench.app, with_key(asked(), "once")).await;
    let job = job_of(&first, 202);
    bench.s3.remove(&key);
    let again = ask(&bench.app, with_key(asked(), "once")).await;
    assert_eq!((job_of(&again, 202), again.header("idempotent-replayed")), (job, Some("true")));
    assert_eq!(ask(&bench.app, asked()).await.problem(), (422, "/file"));
    assert_eq!(ask(&bench.app, with_key(asked(), "another")).await.problem(), (422, "/file"));
}
