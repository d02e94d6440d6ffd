//! `queue-processing`: one import at a time per user and per merchant, whoever asks, however often.

use lambda_http::Request;
use onceload_tests::db::TestDb;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::http::{Said, request, said, with_key};
use onceload_tests::{Bench, Run, State};
use serde_json::{Value, json};
use shared::db::decisions::{Actor, Decision};
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::step::StepErrorKind;
use shared::edge::App;

const PATH: &str = "/imports/queue-processing";

pub fn subject(actor: &Actor) -> String {
    format!("subject-{}", actor.user)
}

/// The functions' `App` with a connection of its own, as another environment of the function has.
pub fn elsewhere(bench: &Bench) -> App {
    App { db: bench.db.pool(1), ..bench.app.clone() }
}

fn post(actor: &Actor, merchant: MerchantId, files: &[&str]) -> Request {
    let body = json!({ "merchant_id": merchant, "files": files });
    request("POST", PATH, Some(&subject(actor)), &body.to_string())
}

async fn ask(app: &App, request: Request) -> Said {
    said(queue_processing::handle(app.clone(), request).await)
}

async fn start(bench: &Bench, files: &[&str]) -> Said {
    ask(&bench.app, post(&bench.actor, bench.merchant, files)).await
}

async fn show(bench: &Bench) -> Value {
    let said = ask(&bench.app, request("GET", PATH, Some(&subject(&bench.actor)), "")).await;
    assert_eq!(said.status, 200, "{said:?}");
    said.body
}

fn job_of(said: &Said) -> JobId {
    assert_eq!(said.status, 202, "{said:?}");
    serde_json::from_value(said.body["jobId"].clone()).expect("jobId")
}

/// The 409 of the guard, by this job.
fn assert_held(said: &Said, by: JobId) {
    assert_eq!(said.status, 409, "{said:?}");
    assert_eq!(said.header("content-type"), Some("application/json"));
    assert_eq!(said.body["error"], "Import already in progress. Please wait for it to complete.");
    assert_eq!(said.body["status"], "processing");
    assert_eq!(said.body["jobId"], json!(by));
    assert_eq!(said.body["statusUrl"], format!("/imports/{by}"));
    assert!(said.body["elapsedMinutes"].is_u64() && said.body["startedAt"].is_string(), "{said:?}");
    let retry: u64 = said.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=900).contains(&retry), "{retry}");
}

async fn profile(db: &TestDb, actor: &Actor) -> Value {
    let sql = format!("SELECT to_jsonb(p) FROM user_profiles p WHERE user_id = '{}'", actor.user);
    serde_json::from_str(&db.value(&sql).await).expect("a profile")
}

/// Lets the user's import look as if nothing had been heard of it for so long.
async fn silence(bench: &Bench, job: JobId, minutes: i32) {
    bench
        .db
        .exec(&format!(
            "UPDATE user_profiles SET processing_started_at = now() - interval '{minutes} min',
                    heartbeat_at = CASE WHEN heartbeat_at IS NOT NULL THEN now() - interval '{minutes} min' END
              WHERE job_id = '{job}';
             UPDATE codes_import_jobs SET heartbeat_at = now() - interval '{minutes} min' WHERE id = '{job}'"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_at_once_one_starts() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "code\nA\nB\n");
    let calls = (0..64).map(|_| {
        let (app, request) = (elsewhere(&bench), post(&bench.actor, bench.merchant, &[&key]));
        tokio::spawn(async move { ask(&app, request).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.expect("a call"));
    }
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|said| said.status == 202);
    assert_eq!((won.len(), lost.len()), (1, 63), "{answers:?}");
    let job = job_of(won[0]);
    assert_eq!(
        won[0].body,
        json!({ "jobId": job, "status": "processing", "statusUrl": format!("/imports/{job}") })
    );
    lost.iter().for_each(|said| assert_held(said, job));
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 1);
    assert_eq!(bench.outbox(job).await, ["start_execution"]);

    // A late one, when the job waits for a person: nobody is importing, but the source is being imported.
    let mut run = Run::of_job(&bench.app, job, 1);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(show(&bench).await["status"], "idle");
    assert_held(&start(&bench, &[&key]).await, job);
    // Another source may start meanwhile; the approval then waits for it.
    let other = bench.stage("b.csv", "code\nC\n");
    let second = job_of(&start(&bench, &[&other]).await);
    let busy = run.decide_approval(&bench.actor, 2, false).await;
    assert_eq!(busy, Decision::UserBusy { by: Some(second) });
    let mut other_run = Run::of_job(&bench.app, second, 1);
    other_run.finish(&bench.actor).await.expect(State::Done);
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, 3);
}

/// Neither the merchant's lease nor the source is in the way here: the user's row alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_at_once_over_merchants_one_starts() {
    let bench = Bench::new().await;
    let mut merchants = vec![bench.merchant];
    for n in 1..8 {
        let merchant = add_merchant(&bench.db, &format!("Merchant {n}")).await;
        let member = format!(
            "INSERT INTO merchant_members (merchant_id, user_id) VALUES ('{merchant}', '{}')",
            bench.actor.user
        );
        bench.db.exec(&member).await;
        merchants.push(merchant);
    }
    let calls = (0..64).map(|n| {
        let merchant = merchants[n % 8];
        let key = format!("stage/{merchant}/{n}.csv");
        bench.s3.put(&key, format!("code\nC{n}\n"));
        let (app, request) = (elsewhere(&bench), post(&bench.actor, merchant, &[&key]));
        tokio::spawn(async move { ask(&app, request).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.expect("a call"));
    }
    let won: Vec<_> = answers.iter().filter(|said| said.status == 202).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let job = job_of(won[0]);
    answers.iter().filter(|said| said.status != 202).for_each(|said| assert_held(said, job));
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clicks_with_one_key_are_one_answer() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "code\nA\n");
    let calls = (0..64).map(|_| {
        let (app, request) = (elsewhere(&bench), post(&bench.actor, bench.merchant, &[&key]));
        tokio::spawn(async move { ask(&app, with_key(request, "click-1")).await })
    });
    let mut replays = 0;
    let mut bodies = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        let said = call.await.expect("a call");
        assert_eq!(said.status, 202, "{said:?}");
        replays += usize::from(said.header("idempotent-replayed") == Some("true"));
        bodies.push(said.body);
    }
    bodies.dedup();
    assert_eq!((replays, bodies.len()), (63, 1));
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 1);
    assert_eq!(bench.db.int("SELECT replays FROM idempotency_keys").await, 63);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_follows_the_job() {
    let bench = Bench::new().await;
    assert_eq!(
        show(&bench).await,
        json!({ "status": "idle", "elapsedMinutes": null, "jobId": null, "statusUrl": null })
    );
    let job = job_of(&start(&bench, &[&bench.stage("a.csv", "code\nA\n")]).await);
    assert_eq!(
        show(&bench).await,
        json!({ "status": "processing", "elapsedMinutes": 0, "jobId": job, "statusUrl": format!("/imports/{job}") })
    );
    let mut run = Run::of_job(&bench.app, job, 1);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(show(&bench).await["status"], "idle");
    run.approve(&bench.actor).await;
    assert_eq!(show(&bench).await["status"], "processing");
    assert_held(&start(&bench, &[&bench.stage("b.csv", "code\nB\n")]).await, job);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(show(&bench).await["status"], "completed");

    // Failed and cancelled imports give the user back, too; a retry takes them again.
    let job = job_of(&start(&bench, &[&bench.stage_key("missing.csv")]).await);
    let mut run = Run { job, ..Run::of_job(&bench.app, job, 1) };
    let error = run.until(State::Done).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected);
    assert!(error.message.contains("missing_object"), "{error}");
    assert_eq!(show(&bench).await["status"], "failed");
    assert!(matches!(run.retry(&bench.actor).await, Decision::Taken { .. }));
    assert_eq!(show(&bench).await["status"], "processing");
    assert!(matches!(run.cancel(&bench.actor).await, Decision::Taken { .. }));
    let mut again = Run::of_job(&bench.app, job, 2);
    assert_eq!(again.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(show(&bench).await["status"], "cancelled");
    assert_eq!(job_of(&start(&bench, &[&bench.stage("c.csv", "code\nC\n")]).await), {
        let id = bench.db.value("SELECT job_id FROM user_profiles").await;
        JobId(id.parse().expect("a job's id"))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn fifteen_minutes_of_silence_and_not_one_less() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "code\nA\n");
    let first = job_of(&start(&bench, &[&key]).await);
    let again = |minutes: f64| {
        let (bench, key) = (&bench, &key);
        async move {
            silence(bench, first, 20).await;
            let sql = format!("UPDATE user_profiles SET heartbeat_at = now() - interval '{minutes} min'");
            bench.db.exec(&sql).await;
            start(bench, &[key]).await
        }
    };
    // Begun long ago, but heard of.
    let held = again(14.95).await;
    assert_held(&held, first);
    assert_eq!(held.body["elapsedMinutes"], 20);
    assert!(held.header("retry-after").expect("seconds").parse::<u64>().expect("number") <= 3);

    let second = job_of(&again(15.0).await);
    assert_ne!(first, second);
    let old = bench.job(first).await;
    assert_eq!(
        (&old["status"], &old["attempt"], &old["leased"]),
        (&json!("failed"), &json!(2), &json!(false))
    );
    assert!(old["error_message"].as_str().expect("why").contains(&format!("superseded by import {second}")));
    assert_eq!(bench.outbox(first).await, ["start_execution", "state_changed"]);
    assert_eq!(bench.outbox(second).await, ["start_execution"]);
    assert_eq!(profile(&bench.db, &bench.actor).await["job_id"], json!(second));
    // The ghost finds itself fenced off, and its end is not the new one's.
    let mut ghost = Run::of_job(&bench.app, first, 1);
    assert_eq!(ghost.until(State::Done).await.error().kind, StepErrorKind::Superseded);
    assert_eq!(show(&bench).await["status"], "processing");
    Run::of_job(&bench.app, second, 1).finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_start_is_a_start_just_now() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "code\nA\n");
    bench
        .db
        .exec(&format!(
            "INSERT INTO user_profiles (user_id, import_status) VALUES ('{}', 'processing')",
            bench.actor.user
        ))
        .await;
    let said = start(&bench, &[&key]).await;
    assert_eq!(
        (said.status, &said.body["elapsedMinutes"], &said.body["jobId"]),
        (409, &json!(0), &Value::Null)
    );
    assert!(said.body["startedAt"].is_string());
    assert!(profile(&bench.db, &bench.actor).await["processing_started_at"].is_string(), "its clock runs");
    bench.db.exec("UPDATE user_profiles SET processing_started_at = now() - interval '15 min'").await;
    job_of(&start(&bench, &[&key]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_in_the_insert_it_writes_nothing() {
    let bench = Bench::new().await;
    let codes: String = (0..200).map(|n| format!("C{n:04}\n")).collect();
    let key = bench.stage("a.csv", format!("code\n{codes}"));
    let first = job_of(&start(&bench, &[&key]).await);
    let mut ghost = Run::of_job(&bench.app, first, 1);
    ghost.until(State::InsertCodes).await.expect(State::InsertCodes);
    ghost.approve(&bench.actor).await;
    // The insert waits for a row of `codes` that somebody else is writing: it is in its transaction.
    let blocker = bench.db.connect().await;
    let hold = format!("INSERT INTO codes (merchant_id, code) VALUES ('{}', 'C0100')", bench.merchant);
    blocker.batch_execute(&format!("BEGIN; {hold}")).await.expect("a row in the way");
    let insert = tokio::spawn({
        let ghost = ghost.clone();
        async move { ghost.insert().await }
    });
    bench.db.until("the insert waits", "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").await;
    let second = {
        // Beats may come in between: silence again until it is taken for dead.
        let mut taken = None;
        for _ in 0..200 {
            silence(&bench, first, 16).await;
            let said = start(&bench, &[&key]).await;
            if said.status == 202 {
                taken = Some(job_of(&said));
                break;
            }
        }
        taken.expect("superseded")
    };
    blocker.batch_execute("ROLLBACK").await.expect("out of the way");
    let error = insert.await.expect("a task").expect_err("the ghost must not write");
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(bench.codes().await, 0);
    Run::of_job(&bench.app, second, 1).finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, 200);
    assert_eq!(bench.status(first).await, "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_per_merchant_too() {
    let bench = Bench::new().await;
    let colleague = add_member(&bench.db, bench.merchant).await;
    let first = job_of(&start(&bench, &[&bench.stage("a.csv", "code\nA\n")]).await);
    let key = bench.stage("b.csv", "code\nB\n");
    let other = || ask(&bench.app, post(&colleague, bench.merchant, &[&key]));
    assert_held(&other().await, first);
    let nobody = format!("SELECT count(*) FROM user_profiles WHERE user_id = '{}'", colleague.user);
    assert_eq!(bench.db.int(&nobody).await, 0, "a refused start leaves nothing");

    // The merchant's import has died: the colleague need not wait for its user.
    bench.db.exec("UPDATE codes_import_jobs SET created_at = now() - interval '14 min'").await;
    assert_held(&other().await, first);
    bench.db.exec("UPDATE codes_import_jobs SET created_at = now() - interval '15 min'").await;
    let second = job_of(&other().await);
    assert_eq!(bench.status(first).await, "failed");
    assert_eq!(profile(&bench.db, &bench.actor).await["import_status"], "failed", "its user may start again");
    // An upload that came first waits in line; the queued job, which holds the lease, does not wait for it.
    let mut upload = bench.file("c.csv", "code\nC\n");
    upload.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    Run::of_job(&bench.app, second, 1).finish(&colleague).await.expect(State::Done);
    upload.at = upload.step().await.expect("asks again");
    upload.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promised_start_is_made_by_the_next_request() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "code\nA\n");
    // Nobody listens at Step Functions: the promise stays.
    let job = job_of(&start(&bench, &[&key]).await);
    let pending = "SELECT count(*) FROM outbox WHERE delivered_at IS NULL AND attempts = 1";
    assert_eq!(bench.db.int(pending).await, 1);
    // As if the process had died right after the commit.
    bench.db.exec("UPDATE outbox SET attempts = 0, next_attempt_at = now(), last_error = NULL").await;
    assert_held(&start(&bench, &[&key]).await, job);
    assert_eq!(bench.db.int(pending).await, 1, "the refused request has tried to deliver it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_refused_for_good_is_undone() {
    let bench = Bench::new().await;
    let no = onceload_tests::fixture::refusing("StateMachineDoesNotExist").await;
    let app =
        App { clients: onceload_tests::fixture::states_at(&no, bench.app.objects()), ..bench.app.clone() };
    let key = bench.stage("a.csv", "code\nA\n");
    let attempt = || with_key(post(&bench.actor, bench.merchant, &[&key]), "k");
    let said = ask(&app, attempt()).await;
    assert_eq!((said.status, &said.body["type"]), (503, &json!("urn:onceload:problem:start-refused")));
    assert_eq!(bench.db.int("SELECT count(*) FROM idempotency_keys").await, 0, "the key may be used again");
    assert_eq!(bench.db.value("SELECT string_agg(status, ',') FROM codes_import_jobs").await, "failed");
    assert_eq!(show(&bench).await["status"], "failed");
    job_of(&ask(&bench.app, attempt()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests() {
    let bench = Bench::new().await;
    let own = bench.stage("a.csv", "code\nA\n");
    let stranger = add_merchant(&bench.db, "Other").await;
    let merchant = bench.merchant;
    let try_body = |body: Value| {
        let (app, user) = (bench.app.clone(), subject(&bench.actor));
        async move { ask(&app, request("POST", PATH, Some(&user), &body.to_string())).await }
    };
    let nobody = ask(&bench.app, request("POST", PATH, None, "{}")).await;
    assert_eq!(nobody.problem(), (401, "-"));
    for (body, expected) in [
        // Not a member: 404 whatever else is wrong.
        (json!({ "merchant_id": stranger, "files": 7, "colour": 1 }), (404, "-")),
        (json!([merchant, [own]]), (422, "")),
        (json!({ "merchant_id": "x", "files": [own] }), (422, "/merchant_id")),
        (json!({ "files": [own] }), (422, "")),
        (json!({ "merchant_id": merchant }), (422, "")),
        (json!({ "merchant_id": merchant, "files": [own], "prefix": "uploads/" }), (422, "")),
        (json!({ "merchant_id": merchant, "files": [] }), (422, "/files")),
        (json!({ "merchant_id": merchant, "files": [own, 7] }), (422, "/files/1")),
        (
            json!({ "merchant_id": merchant, "files": [own, format!("stage/{stranger}/a.csv")] }),
            (422, "/files/1"),
        ),
        (json!({ "merchant_id": merchant, "prefix": format!("stage/{merchant}") }), (422, "/prefix")),
        (
            json!({ "merchant_id": merchant, "files": [own], "mapping": { "colour": "x" } }),
            (422, "/mapping/colour"),
        ),
        (json!({ "merchant_id": merchant, "files": [own], "options": [0.1, 5] }), (422, "/options")),
        (
            json!({ "merchant_id": merchant, "files": [own], "options": { "max_duplicate_ratio": 2 } }),
            (422, "/options/max_duplicate_ratio"),
        ),
    ] {
        assert_eq!(try_body(body.clone()).await.problem(), expected, "{body}");
    }
    let unknown = try_body(json!({ "merchant_id": merchant, "files": [own], "file": own })).await;
    assert_eq!(unknown.status, 422);
    assert!(unknown.body["detail"].as_str().expect("detail").contains("`file`"), "{unknown:?}");
    let no_json = ask(&bench.app, request("POST", PATH, Some(&subject(&bench.actor)), "{")).await;
    assert_eq!(no_json.status, 400);
    for (key, detail) in [("k".repeat(256), "Idempotency key too long"), ("\"a".into(), "quoted")] {
        let said = ask(&bench.app, with_key(post(&bench.actor, merchant, &[&own]), &key)).await;
        assert_eq!(said.status, 400);
        assert!(said.body["detail"].as_str().expect("detail").contains(detail), "{said:?}");
    }
    assert_eq!(bench.db.int("SELECT count(*) FROM codes_import_jobs").await, 0);
}
