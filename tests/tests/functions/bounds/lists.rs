//! What lists and answers hold of the largest import that is legal: 2,000 files with the longest keys, and every text as long as it
//! may be.

use onceload_tests::fixture::subject;
use onceload_tests::http::{Response, receive, request, with_key};
use onceload_tests::{State, World};
use serde_json::{Value, json};
use shared::domain::field::Field;
use shared::domain::ids::JobId;
use shared::domain::key::MAX_KEY_BYTES;
use shared::domain::source::{MAX_FILES, SHOWN_KEYS};
use shared::domain::step::MAX_MESSAGE_BYTES;

async fn send(world: &World, method: &str, path: &str, key: Option<&str>) -> Response {
    let mut request = request(method, path, Some(&subject(&world.actor)), "");
    if let Some(key) = key {
        request = with_key(request, key);
    }
    receive(import_jobs::handle(world.app.clone(), request).await)
}

fn bytes(response: &Response) -> usize {
    response.body.to_string().len()
}

/// Keys of the merchant as long as S3 allows, of this character.
fn longest_keys(world: &World, count: usize, of: &str) -> Vec<String> {
    let key = |number: usize| {
        let start = format!("uploads/{}/{number:04}-", world.merchant);
        format!("{start}{}.csv", of.repeat(MAX_KEY_BYTES - start.len() - 4))
    };
    (0..count).map(key).collect()
}

/// A failed import that names so many objects that aren't there.
async fn fail(world: &World, count: usize, of: &str) -> JobId {
    let keys = longest_keys(world, count, of);
    let mapping: Value =
        Field::NAMES.iter().map(|field| (*field, format!("{field}{}", "\"".repeat(240)))).collect();
    let input = json!({ "merchant_id": world.merchant, "files": keys, "mapping": mapping });
    let mut run = onceload_tests::Run::new(&world.app, input);
    let error = run.until(State::LoadFiles).await.error();
    assert!(error.message.len() <= MAX_MESSAGE_BYTES, "{} bytes", error.message.len());
    let job = world.db.value("SELECT id FROM onceload.codes_import_jobs").await;
    JobId(job.parse().expect("an id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_the_largest_imports_are_one_page_below_a_megabyte() {
    let world = World::new().await;
    let job = fail(&world, MAX_FILES, "x").await;
    let shown = send(&world, "GET", &format!("/imports/{job}"), None).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(shown.body["files"], json!({ "total": MAX_FILES, "loaded": 0, "failed": MAX_FILES }));
    let source = &shown.body["source"];
    assert_eq!(source["files"].as_array().map(Vec::len), Some(SHOWN_KEYS));
    assert_eq!((&source["file_count"], source["mapping"].is_object()), (&json!(MAX_FILES), true));
    assert!(bytes(&shown) < 150_000, "one import has {} bytes", bytes(&shown));

    world
        .db
        .exec(
            "INSERT INTO onceload.codes_import_jobs
             SELECT (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid(), 'execution_arn', NULL,
                         'created_at', j.created_at + n * interval '1 second'))).*
               FROM onceload.codes_import_jobs j, generate_series(1, 99) n",
        )
        .await;
    let page = send(&world, "GET", "/imports?limit=100", None).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(bytes(&page) < 1_000_000, "a page has {} bytes", bytes(&page));
    let imports = page.body["imports"].as_array().expect("imports");
    assert_eq!((imports.len(), &page.body["next"]), (100, &json!(null)));
    for import in imports {
        assert_eq!(import["files"], shown.body["files"]);
        assert_eq!(import["source"]["files"], json!([source["files"][0]]), "the first key");
        assert_eq!(import["source"]["file_count"], json!(MAX_FILES));
    }
}

/// Thirteen warnings, each with the longest key.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_where_the_longest_texts_fill_a_megabyte() {
    let world = World::new().await;
    // In JSON each quote has two bytes.
    let job = fail(&world, 30, "\"").await;
    let warning = json!({ "reason": "short_records", "count": 1, "files": 1,
        "first": { "file": longest_keys(&world, 1, "\"")[0], "line": 1, "sample": "\\".repeat(100) } });
    let warnings = json!({ "files_total": MAX_FILES, "warnings": vec![warning; 13] }).to_string();
    world
        .db
        .exec(&format!(
            "UPDATE onceload.codes_import_jobs SET file_totals = $json${warnings}$json$ WHERE id = '{job}';
             INSERT INTO onceload.codes_import_jobs
             SELECT (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid(), 'execution_arn', NULL,
                         'created_at', j.created_at + n * interval '1 second'))).*
               FROM onceload.codes_import_jobs j, generate_series(1, 99) n"
        ))
        .await;
    let (mut seen, mut path) = (Vec::new(), "/imports?limit=100".to_owned());
    loop {
        let page = send(&world, "GET", &path, None).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(bytes(&page) < 1_100_000, "a page has {} bytes", bytes(&page));
        let ids = page.body["imports"]
            .as_array()
            .expect("imports")
            .iter()
            .map(|import| import["job_id"].to_string());
        seen.extend(ids);
        match page.body["next"].as_str() {
            Some(next) => path = format!("/imports?limit=100&cursor={next}"),
            None => break,
        }
    }
    let distinct: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (100, 100), "each import once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_answer_of_a_decision_about_the_largest_import_is_small() {
    let world = World::new().await;
    let job = fail(&world, 30, "\"").await;
    world
        .db
        .exec("UPDATE onceload.codes_import_jobs SET cancel_requested_at = now(), status = 'failed'")
        .await;
    let retried = send(&world, "POST", &format!("/imports/{job}/retry"), Some("k")).await;
    assert_eq!(retried.status, 202, "{retried:?}");
    let stored = world.db.int("SELECT octet_length(response_body) FROM onceload.idempotency_keys").await;
    assert!(stored < 50_000, "{stored} bytes are stored");
    let again = send(&world, "POST", &format!("/imports/{job}/retry"), Some("k")).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
    assert_eq!(again.body, retried.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_totals_of_an_import_are_those_of_its_files_in_every_state() {
    let world = World::new().await;
    let keys =
        [world.upload("a.csv", "code,points\nA,1\nB,x\n"), world.upload("b.csv", "code\nC\nnull\n\"\n")];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut run = world.import_objects(&keys);
    let check = async |job: JobId, state: &str| {
        let sql = format!("SELECT onceload.sum_up_files('{job}')");
        let (counted, shown) = (json(&world.db.value(&sql).await), world.show(job).await);
        for (member, sum) in
            [("total", "files_total"), ("loaded", "files_loaded"), ("failed", "files_failed")]
        {
            assert_eq!(shown["files"][member], counted[sum], "{state}: {member}");
        }
        assert_eq!(shown["bytes"]["total"], counted["bytes_total"], "{state}");
        assert_eq!(shown["warnings"], counted["warnings"], "{state}");
        assert_eq!(shown["rejected_by_reason"], counted["rejected_by_reason"], "{state}");
        shown
    };
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    check(run.job, "loading").await;
    run.until(State::InsertCodes).await.error();
    let failed = check(run.job, "failed").await;
    assert_eq!(failed["files"], json!({ "total": 2, "loaded": 1, "failed": 1 }));

    let path = format!("/imports/{}/files/2", run.job);
    let body = json!({ "action": "leave_out" }).to_string();
    let mend = request("POST", &path, Some(&subject(&world.actor)), &body);
    assert_eq!(receive(import_jobs::handle(world.app.clone(), mend).await).status, 202);
    check(run.job, "mended").await;
    let mut run = onceload_tests::Run::of_job(&world.app, run.job, 2);
    run.finish(&world.actor).await.expect(State::Done);
    let done = check(run.job, "completed").await;
    assert_eq!(done["files"], json!({ "total": 1, "loaded": 1, "failed": 0 }));
    assert_eq!(done["rejected_by_reason"], json!({ "invalid_points": 1 }));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
