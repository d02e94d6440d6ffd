//! `run-migration` runs the same content with the same mapping once at a time.

use import_jobs::decide::Decision;
use lambda_http::Request;
use onceload_tests::concurrency::all_at_once;
use onceload_tests::fixture::{add_member, subject};
use onceload_tests::http::{Response, receive, request, with_key};
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;
use shared::lambda::App;

fn post(actor: &Actor, body: &Value) -> Request {
    request("POST", "/migrations/run", Some(&subject(actor)), &body.to_string())
}

fn migration_body(world: &World, file: &str) -> Value {
    json!({ "merchant_id": world.merchant, "file": file, "mapping": { "code": "Voucher" } })
}

async fn send(app: &App, request: Request) -> Response {
    receive(run_migration::handle(app.clone(), request).await)
}

fn expect_job(response: &Response, status: u16) -> JobId {
    assert_eq!(response.status, status, "{response:?}");
    serde_json::from_value(response.body["jobId"].clone()).expect("jobId")
}

async fn read_migration_status(world: &World, job: JobId) -> String {
    world.db.value(&format!("SELECT status FROM onceload.migration_jobs WHERE id = '{job}'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_concurrent_requests_one_starts_a_migration() {
    let world = World::new().await;
    let key = world.upload("a.csv", "Voucher\nA\nB\n");
    let calls = (0..64).map(|_| {
        let (app, request) = (world.app_with_pool(1), post(&world.actor, &migration_body(&world, &key)));
        async move { send(&app, request).await }
    });
    let answers = all_at_once(calls).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|response| response.status == 202);
    assert_eq!((won.len(), lost.len()), (1, 63), "{answers:?}");
    let job = expect_job(won[0], 202);
    assert_eq!(
        won[0].body,
        json!({ "jobId": job, "status": "pending", "statusUrl": format!("/imports/{job}") })
    );
    for response in lost {
        assert_eq!(
            (response.status, &response.body),
            (200, &json!({ "jobId": job, "message": "Job already in progress" }))
        );
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 1);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.migration_jobs").await, 1);
    assert_eq!(world.read_outbox(job).await, ["start_execution"]);

    // The migration is active until its job ends, in the same transactions. Then it can run again.
    let again = || send(&world.app, post(&world.actor, &migration_body(&world, &key)));
    let mut run = Run::of_job(&world.app, job, 1);
    for (stop, expected) in [(State::LoadFiles, "processing"), (State::InsertCodes, "processing")] {
        run.until(stop).await.expect(stop);
        assert_eq!(read_migration_status(&world, job).await, expected, "{stop:?}");
        assert_eq!(expect_job(&again().await, 200), job);
    }
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(read_migration_status(&world, job).await, "completed");
    let second = expect_job(&again().await, 202);
    assert_ne!(second, job);
    let keys = "SELECT count(DISTINCT base_idempotency_key) || ' ' || count(DISTINCT idempotency_key) FROM onceload.migration_jobs";
    assert_eq!(world.db.value(keys).await, "1 2");
}

/// Every copy is another source, so the base key alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_copies_of_one_file_one_migration_runs() {
    let world = World::new().await;
    let calls = (0..64).map(|n| {
        let key = world.upload(&format!("copy-{n}.csv"), "Voucher\nA\nB\n");
        let (app, request) = (world.app_with_pool(1), post(&world.actor, &migration_body(&world, &key)));
        async move { send(&app, request).await }
    });
    let mut jobs = Vec::new();
    let mut won = 0;
    for response in all_at_once(calls).await {
        won += usize::from(response.status == 202);
        jobs.push(response.body["jobId"].clone());
    }
    jobs.dedup();
    assert_eq!((won, jobs.len()), (1, 1), "{jobs:?}");
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_and_mapping_is_the_same_migration() {
    let world = World::new().await;
    let text = "Voucher;Points\nA;1\n";
    let key = world.upload("a.csv", text);
    let body = json!({ "merchant_id": world.merchant, "file": key,
                       "mapping": { "code": " VOUCHER", "points": "points" } });
    let first = expect_job(&send(&world.app, post(&world.actor, &body)).await, 202);
    // The same mapping in another order and spelling.
    let same = format!(
        r#"{{"mapping":{{"points":"Points","code":"Voucher"}},"file":"{key}","merchant_id":"{}"}}"#,
        world.merchant
    );
    let request_of = |body: &str| request("POST", "/migrations/run", Some(&subject(&world.actor)), body);
    assert_eq!(expect_job(&send(&world.app, request_of(&same)).await, 200), first);
    // The same bytes under another name, and the same object sent by another member.
    let copy = world.upload("copy.csv", text);
    let mut other = body.clone();
    other["file"] = json!(copy);
    assert_eq!(expect_job(&send(&world.app, post(&world.actor, &other)).await, 200), first);
    let colleague = add_member(&world.db, world.merchant).await;
    assert_eq!(expect_job(&send(&world.app, post(&colleague, &body)).await, 200), first);
    // Another mapping is another migration, and so are other bytes under the same name.
    let mut other = body.clone();
    other["mapping"] = json!({ "code": "Voucher" });
    let second = expect_job(&send(&world.app, post(&world.actor, &other)).await, 202);
    world.upload("a.csv", "Voucher;Points\nB;1\n");
    let third = expect_job(&send(&world.app, post(&world.actor, &body)).await, 202);
    assert!(first != second && second != third);

    // Each runs with its own file and mapping, one after the other.
    for job in [first, second, third] {
        Run::of_job(&world.app, job, 1).finish(&world.actor).await.expect(State::Done);
    }
    let points = format!("SELECT points FROM onceload.codes WHERE import_job_id = '{first}'");
    assert_eq!(world.db.value(&points).await, "1");
    assert_eq!(world.db.column("SELECT code FROM onceload.codes ORDER BY code").await, ["A", "B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_can_run_again_after_it_ended() {
    let world = World::new().await;
    let key = world.upload("a.csv", "Voucher\nA\n");
    let again = || send(&world.app, post(&world.actor, &migration_body(&world, &key)));
    let first = expect_job(&again().await, 202);
    let run = Run { job: first, ..Run::of_job(&world.app, first, 1) };
    assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(read_migration_status(&world, first).await, "cancelled");
    let second = expect_job(&again().await, 202);
    let mut run = Run::of_job(&world.app, second, 1);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let broken = shared::domain::step::StepError::internal("broken");
    run.close_stopped(&broken).await.expect("close");
    assert_eq!(read_migration_status(&world, second).await, "failed");
    let third = expect_job(&again().await, 202);
    // The failed migration can't be retried while the new one is active.
    assert_eq!(run.retry(&world.actor).await, Decision::SourceActive);
    assert_eq!(read_migration_status(&world, second).await, "failed");
    // With a key, the response is replayed even after the run has ended.
    let keyed = || with_key(post(&world.actor, &migration_body(&world, &key)), "run-1");
    assert_eq!(expect_job(&send(&world.app, keyed()).await, 200), third);
    Run::of_job(&world.app, third, 1).finish(&world.actor).await.expect(State::Done);
    let replay = send(&world.app, keyed()).await;
    assert_eq!((expect_job(&replay, 200), replay.header("idempotent-replayed")), (third, Some("true")));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_migration_requests_are_rejected() {
    let world = World::new().await;
    let key = world.upload("a.csv", "Voucher\nA\n");
    for (body, expected) in [
        (
            json!({ "merchant_id": world.merchant, "file": world.key_under_stage("no.csv"), "mapping": { "code": "x" } }),
            (422, "/file"),
        ),
        (
            json!({ "merchant_id": world.merchant, "file": "uploads/x/a.csv", "mapping": { "code": "x" } }),
            (422, "/file"),
        ),
        (json!({ "merchant_id": world.merchant, "file": key, "mapping": {} }), (422, "/mapping")),
        (
            json!({ "merchant_id": world.merchant, "file": key, "mapping": { "colour": "x" } }),
            (422, "/mapping/colour"),
        ),
        (json!({ "merchant_id": world.merchant, "file": key, "mapping": ["x"] }), (422, "/mapping")),
        (json!({ "merchant_id": uuid::Uuid::nil(), "file": key, "mapping": { "code": "x" } }), (404, "-")),
    ] {
        assert_eq!(send(&world.app, post(&world.actor, &body)).await.problem(), expected, "{body}");
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.migration_jobs").await, 0);
}

/// A replay repeats the first response even if the file was deleted since; without the key the file is looked up.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_does_not_need_the_file() {
    let world = World::new().await;
    let key = world.upload("a.csv", "Voucher\nA\n");
    let asked = || post(&world.actor, &migration_body(&world, &key));
    let first = send(&world.app, with_key(asked(), "once")).await;
    let job = expect_job(&first, 202);
    world.s3.remove(&key);
    let again = send(&world.app, with_key(asked(), "once")).await;
    assert_eq!((expect_job(&again, 202), again.header("idempotent-replayed")), (job, Some("true")));
    assert_eq!(send(&world.app, asked()).await.problem(), (422, "/file"));
    assert_eq!(send(&world.app, with_key(asked(), "another")).await.problem(), (422, "/file"));
}

/// Headers that the loader takes for one are one here: letters, white space, underscores, a final sigma.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_in_any_spelling_is_the_same_migration_and_finds_its_column() {
    let world = World::new().await;
    for (number, (header, spellings)) in [
        ("Voucher Code", ["voucher_code", "VoucherCode", "Voucher  Code", "\u{a0}VOUCHER code"]),
        ("ΚΩΔΙΚΟΣ", ["κωδικος", "Κωδικοσ", "κωδικοΣ", "ΚΩΔΙΚΟΣ "]),
        ("Maßnahme", ["MASSNAHME", "maßnahme", "Mass nahme", "MAẞNAHME"]),
    ]
    .into_iter()
    .enumerate()
    {
        let key = world.upload(&format!("{number}.csv"), format!("code,{header}\nWRONG,{number}\n"));
        let body = |spelling: &str| json!({ "merchant_id": world.merchant, "file": key, "mapping": { "code": spelling } });
        let first = expect_job(&send(&world.app, post(&world.actor, &body(header))).await, 202);
        for spelling in spellings {
            let again = send(&world.app, post(&world.actor, &body(spelling))).await;
            assert_eq!(expect_job(&again, 200), first, "{header}: {spelling}");
        }
        Run::of_job(&world.app, first, 1).finish(&world.actor).await.expect(State::Done);
        // By hand, another spelling is the same source while it is imported, and finds the same column.
        for spelling in spellings {
            let input =
                json!({ "merchant_id": world.merchant, "files": [key], "mapping": { "code": spelling } });
            let mut run = Run::new(&world.app, input.clone());
            run.finish(&world.actor).await.expect(State::Done);
            let expected = json!({ "code": spelling });
            assert_eq!(world.read_job(run.job).await["mapping"], expected);
        }
    }
    assert_eq!(world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await, ["0", "1", "2"]);
}

/// Two columns that differ in letters only: the mapping says which, by every door.
#[tokio::test(flavor = "multi_thread")]
async fn an_exact_header_goes_before_one_in_other_letters() {
    let world = World::new().await;
    let key = world.upload("a.csv", "Voucher,voucher\nONE,TWO\n");
    for (header, code) in [("voucher", "TWO"), (" Voucher ", "ONE")] {
        let body = json!({ "merchant_id": world.merchant, "file": key, "mapping": { "code": header } });
        let job = expect_job(&send(&world.app, post(&world.actor, &body)).await, 202);
        Run::of_job(&world.app, job, 1).finish(&world.actor).await.expect(State::Done);
        let sql = format!("SELECT code FROM onceload.codes WHERE import_job_id = '{job}'");
        assert_eq!(world.db.value(&sql).await, code, "{header}");
    }
    // One column can fill one field: the same header at the door, another spelling of it in the file.
    let both = json!({ "merchant_id": world.merchant, "files": [key], "mapping": { "code": "Voucher", "serial": "voucher" } });
    Run::new(&world.app, both).finish(&world.actor).await.expect(State::Done);
    let only = world.upload("b.csv", "Voucher\nONE\n");
    let both = json!({ "merchant_id": world.merchant, "files": [only], "mapping": { "code": "Voucher", "serial": "voucher" } });
    let error = Run::new(&world.app, both).until(State::InsertCodes).await.error();
    assert!(error.message.contains("one column can fill one field"), "{error}");
}
