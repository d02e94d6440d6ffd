//! `queue-processing` starts one import at a time per user and per merchant.

use super::client::{
    PATH, assert_held, assert_waits_for_approval, expect_job, post, read_profile, read_status, send, start,
};
use import_jobs::decide::Decision;
use onceload_tests::concurrency::all_at_once;
use onceload_tests::fixture::{add_member, add_merchant, subject};
use onceload_tests::http::{request, with_key};
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::step::StepErrorKind;
use shared::lambda::App;

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_concurrent_requests_one_starts_an_import() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\nB\n");
    let calls = (0..64).map(|_| {
        let (app, request) = (world.app_with_pool(1), post(&world.actor, world.merchant, &[&key]));
        async move { send(&app, request).await }
    });
    let answers = all_at_once(calls).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|response| response.status == 202);
    assert_eq!((won.len(), lost.len()), (1, 63), "{answers:?}");
    let job = expect_job(won[0]);
    assert_eq!(
        won[0].body,
        json!({ "jobId": job, "status": "processing", "statusUrl": format!("/imports/{job}") })
    );
    lost.iter().for_each(|response| assert_held(response, job));
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 1);
    assert_eq!(world.read_outbox(job).await, ["start_execution"]);

    // While the job waits for approval the user is free, but the job still holds its source.
    let mut run = Run::of_job(&world.app, job, 1);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(read_status(&world).await["status"], "idle");
    assert_waits_for_approval(&start(&world, &[&key]).await, job);
    // Another source may start meanwhile; the approval is refused until it has ended.
    let other = world.upload("b.csv", "code\nC\n");
    let second = expect_job(&start(&world, &[&other]).await);
    let busy = run.decide_approval(&world.actor, 2, false).await;
    assert_eq!(busy, Decision::UserBusy { by: Some(second) });
    let mut other_run = Run::of_job(&world.app, second, 1);
    other_run.finish(&world.actor).await.expect(State::Done);
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 3);
}

/// The merchants and sources differ, so the user's row alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn one_user_starts_one_import_across_merchants() {
    let world = World::new().await;
    let mut merchants = vec![world.merchant];
    for n in 1..8 {
        let merchant = add_merchant(&world.db, &format!("Merchant {n}")).await;
        let member = format!(
            "INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{merchant}', '{}')",
            world.actor.user
        );
        world.db.exec(&member).await;
        merchants.push(merchant);
    }
    let calls = (0..64).map(|n| {
        let merchant = merchants[n % 8];
        let key = format!("stage/{merchant}/{n}.csv");
        world.s3.put(&key, format!("code\nC{n}\n"));
        let (app, request) = (world.app_with_pool(1), post(&world.actor, merchant, &[&key]));
        async move { send(&app, request).await }
    });
    let answers = all_at_once(calls).await;
    let won: Vec<_> = answers.iter().filter(|response| response.status == 202).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let job = expect_job(won[0]);
    answers.iter().filter(|response| response.status != 202).for_each(|response| assert_held(response, job));
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_with_one_key_get_one_answer() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let calls = (0..64).map(|_| {
        let (app, request) = (world.app_with_pool(1), post(&world.actor, world.merchant, &[&key]));
        async move { send(&app, with_key(request, "click-1")).await }
    });
    let mut replays = 0;
    let mut bodies = Vec::new();
    for response in all_at_once(calls).await {
        assert_eq!(response.status, 202, "{response:?}");
        replays += usize::from(response.header("idempotent-replayed") == Some("true"));
        bodies.push(response.body);
    }
    bodies.dedup();
    assert_eq!((replays, bodies.len()), (63, 1));
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 1);
    assert_eq!(world.db.int("SELECT replays FROM onceload.idempotency_keys").await, 63);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_status_follows_the_job() {
    let world = World::new().await;
    assert_eq!(
        read_status(&world).await,
        json!({ "status": "idle", "elapsedMinutes": null, "jobId": null, "statusUrl": null })
    );
    let job = expect_job(&start(&world, &[&world.upload("a.csv", "code\nA\n")]).await);
    assert_eq!(
        read_status(&world).await,
        json!({ "status": "processing", "elapsedMinutes": 0, "jobId": job, "statusUrl": format!("/imports/{job}") })
    );
    let mut run = Run::of_job(&world.app, job, 1);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(read_status(&world).await["status"], "idle");
    run.approve(&world.actor).await;
    assert_eq!(read_status(&world).await["status"], "processing");
    assert_held(&start(&world, &[&world.upload("b.csv", "code\nB\n")]).await, job);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(read_status(&world).await["status"], "completed");

    // A failed or cancelled import frees the user, too; a retry occupies the user again.
    let job = expect_job(&start(&world, &[&world.key_under_stage("missing.csv")]).await);
    let mut run = Run { job, ..Run::of_job(&world.app, job, 1) };
    let error = run.until(State::Done).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected);
    assert!(error.message.contains("missing_object"), "{error}");
    assert_eq!(read_status(&world).await["status"], "failed");
    assert!(matches!(run.retry(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(read_status(&world).await["status"], "processing");
    assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
    let mut again = Run::of_job(&world.app, job, 2);
    assert_eq!(again.until(State::Done).await.error().kind, StepErrorKind::Cancelled);
    assert_eq!(read_status(&world).await["status"], "cancelled");
    assert_eq!(expect_job(&start(&world, &[&world.upload("c.csv", "code\nC\n")]).await), {
        let id = world.db.value("SELECT job_id FROM onceload.user_profiles").await;
        JobId(id.parse().expect("a job's id"))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_runs_one_import_at_a_time() {
    let world = World::new().await;
    let colleague = add_member(&world.db, world.merchant).await;
    let first = expect_job(&start(&world, &[&world.upload("a.csv", "code\nA\n")]).await);
    let key = world.upload("b.csv", "code\nB\n");
    let other = || send(&world.app, post(&colleague, world.merchant, &[&key]));
    assert_held(&other().await, first);
    let nobody = format!("SELECT count(*) FROM onceload.user_profiles WHERE user_id = '{}'", colleague.user);
    assert_eq!(world.db.int(&nobody).await, 0, "a refused start writes nothing");

    // The merchant's import has died, so the colleague need not wait for its user.
    world.db.exec("UPDATE onceload.codes_import_jobs SET created_at = now() - interval '14 min'").await;
    assert_held(&other().await, first);
    world.db.exec("UPDATE onceload.codes_import_jobs SET created_at = now() - interval '15 min'").await;
    let second = expect_job(&other().await);
    assert_eq!(world.read_status(first).await, "failed");
    assert_eq!(
        read_profile(&world.db, &world.actor).await["import_status"],
        "failed",
        "the user may start again"
    );
    // An earlier upload waits in the queue; the job that holds the lease does not wait for it.
    let mut upload = world.import_file("c.csv", "code\nC\n");
    upload.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    Run::of_job(&world.app, second, 1).finish(&colleague).await.expect(State::Done);
    upload.at = upload.step().await.expect("asks again");
    upload.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 2);
}

/// While an upload waits for the merchant, a start is refused as while an import works, even if the lease is free just now.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_overtake_an_upload_in_line() {
    let world = World::new().await;
    let mut working = world.import_file("a.csv", "code\nA\n");
    working.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut upload = world.import_file("b.csv", "code\nB\n");
    upload.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    let key = world.upload("c.csv", "code\nC\n");
    assert_held(&start(&world, &[&key]).await, working.job);
    working.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs WHERE leased").await, 0);
    assert_held(&start(&world, &[&key]).await, upload.job);
    upload.at = State::Open;
    upload.until(State::InsertCodes).await.expect(State::InsertCodes);
    expect_job(&start(&world, &[&key]).await);
}

/// A start that was not opened yet holds the lease, and returns it when it is cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_queued_start_wakes_the_next_in_line() {
    let world = World::new().await;
    let job = expect_job(&start(&world, &[&world.upload("a.csv", "code\nA\n")]).await);
    let mut upload = world.import_file("b.csv", "code\nB\n");
    upload.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    let queued = Run { job, ..Run::of_job(&world.app, job, 1) };
    assert!(matches!(queued.cancel(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(world.read_outbox(upload.job).await, ["task_success"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_sends_nothing() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let job = expect_job(&start(&world, &[&key]).await);
    // As if the process had died right after the commit.
    world
        .db
        .exec("UPDATE onceload.outbox SET attempts = 0, next_attempt_at = now(), last_error = NULL")
        .await;
    assert_held(&start(&world, &[&key]).await, job);
    let untried = "SELECT count(*) FROM onceload.outbox WHERE attempts = 0";
    assert_eq!(world.db.int(untried).await, 1, "the sweep sends it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_step_functions_refuses_is_undone() {
    let world = World::new().await;
    let no = onceload_tests::fixture::serve_refusals("StateMachineDoesNotExist").await;
    let app =
        App { clients: onceload_tests::fixture::clients_at(&no, world.app.objects()), ..world.app.clone() };
    let key = world.upload("a.csv", "code\nA\n");
    let attempt = || with_key(post(&world.actor, world.merchant, &[&key]), "k");
    let response = send(&app, attempt()).await;
    assert_eq!(
        (response.status, &response.body["type"]),
        (503, &json!("urn:onceload:problem:start-refused"))
    );
    assert_eq!(
        world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await,
        0,
        "the key may be used again"
    );
    assert_eq!(
        world.db.value("SELECT string_agg(status, ',') FROM onceload.codes_import_jobs").await,
        "failed"
    );
    assert_eq!(read_status(&world).await["status"], "failed");
    expect_job(&send(&world.app, attempt()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_start_requests_are_rejected() {
    let world = World::new().await;
    let own = world.upload("a.csv", "code\nA\n");
    let stranger = add_merchant(&world.db, "Other").await;
    let merchant = world.merchant;
    let try_body = |body: Value| {
        let (app, user) = (world.app.clone(), subject(&world.actor));
        async move { send(&app, request("POST", PATH, Some(&user), &body.to_string())).await }
    };
    let nobody = send(&world.app, request("POST", PATH, None, "{}")).await;
    assert_eq!(nobody.problem(), (401, "-"));
    for (body, expected) in [
        // Who is no member gets 404, whatever else is wrong.
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
    let no_json = send(&world.app, request("POST", PATH, Some(&subject(&world.actor)), "{")).await;
    assert_eq!(no_json.status, 400);
    for (key, detail) in [("k".repeat(256), "Idempotency key too long"), ("\"a".into(), "quoted")] {
        let response = send(&world.app, with_key(post(&world.actor, merchant, &[&own]), &key)).await;
        assert_eq!(response.status, 400);
        assert!(response.body["detail"].as_str().expect("detail").contains(detail), "{response:?}");
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 0);
}

/// Also while another import of the merchant works: asking again later would not help either.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_wait_for_approval_are_not_started_again() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let colleague = add_member(&world.db, world.merchant).await;
    let mut run = world.import_objects(&[&key]);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_waits_for_approval(&start(&world, &[&key]).await, run.job);
    let other = expect_job(&start(&world, &[&world.upload("b.csv", "code\nB\n")]).await);
    let again = || send(&world.app, post(&colleague, world.merchant, &[&key]));
    assert_waits_for_approval(&again().await, run.job);
    // Once approved, it is at work, or on its way to it.
    let mut working = Run::of_job(&world.app, other, 1);
    working.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&world.actor).await;
    assert_held(&again().await, run.job);
}

/// `Retry-After` is the ETA of the import in the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_says_when_asking_again_makes_sense() {
    let world = World::new().await;
    let job = expect_job(&start(&world, &[&world.upload("a.csv", "code\nA\n")]).await);
    let retry_after = async || {
        let refused = start(&world, &[&world.upload("b.csv", "code\nB\n")]).await;
        assert_held(&refused, job);
        refused.header("retry-after").unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(retry_after().await, 10, "it can't tell");
    Run::of_job(&world.app, job, 1).until(State::LoadFiles).await.expect(State::LoadFiles);
    // A tenth of the bytes took so many seconds.
    for (took, expected) in [(4, 36), (10, 60), (1, 9)] {
        let pace = format!(
            "UPDATE onceload.import_files SET bytes = 1000 WHERE job_id = '{job}';
             DELETE FROM onceload.import_progress WHERE job_id = '{job}';
             INSERT INTO onceload.import_progress (job_id, attempt, step, part, rows_done, bytes_done, started_at, updated_at)
             VALUES ('{job}', 1, 'load', 1, 10, 100, now() - interval '{took} s', now())"
        );
        world.db.exec(&pace).await;
        assert_eq!(retry_after().await, expected, "a tenth in {took} s");
    }
}
