//! `GET /imports/{id}/files`: pages of the files of an import, and what the job itself says of files that failed.

use onceload_tests::fixture::{add_member, add_merchant, subject};
use onceload_tests::http::{Response, receive, request};
use onceload_tests::{State, World};
use serde_json::{Value, json};
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;

async fn get(world: &World, actor: &Actor, path: &str) -> Response {
    let request = request("GET", path, Some(&subject(actor)), "");
    receive(import_jobs::handle(world.app.clone(), request).await)
}

async fn page(world: &World, job: JobId, query: &str) -> Value {
    let answer = get(world, &world.actor, &format!("/imports/{job}/files?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["job_id"], json!(job));
    answer.body
}

fn numbers(page: &Value) -> Vec<i64> {
    page["files"].as_array().unwrap().iter().map(|file| file["file_no"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_in_pages_in_order_of_their_numbers() {
    let world = World::new().await;
    let keys: Vec<String> =
        (1..=5).map(|i| world.upload(&format!("b/{i}.csv"), format!("code\nC{i}\n"))).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut run = world.import_objects(&keys);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);

    let whole = page(&world, run.job, "").await;
    assert_eq!((numbers(&whole), &whole["next"]), (vec![1, 2, 3, 4, 5], &json!(null)));
    assert_eq!(whole["files"][4]["key"], json!(keys[4]));
    let mut seen = Vec::new();
    let mut query = String::from("limit=2");
    let sizes = loop {
        let found = page(&world, run.job, &query).await;
        seen.push(numbers(&found));
        match found["next"].as_str() {
            Some(next) => query = format!("limit=2&cursor={next}"),
            None => break seen,
        }
    };
    assert_eq!(sizes, [vec![1, 2], vec![3, 4], vec![5]]);
    assert_eq!(page(&world, run.job, "limit=5").await["next"], json!(null), "the last page says so");

    let path = format!("/imports/{}/files", run.job);
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=x", "/limit"),
        ("cursor=x", "/cursor"),
        ("page=2", "/page"),
    ] {
        let answer = get(&world, &world.actor, &format!("{path}?{query}")).await;
        assert_eq!(answer.problem(), (422, pointer), "{query}");
    }
    let stranger = add_member(&world.db, add_merchant(&world.db, "Other").await).await;
    assert_eq!(get(&world, &stranger, &format!("{path}?limit=0")).await.status, 404);
}

/// Lambda answers with 6 MB at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_files_with_long_headers_ends_early() {
    let world = World::new().await;
    // Each quote takes two bytes, in CSV as in JSON.
    let columns: String = (0..900).map(|i| format!(",\"{i:04}{}\"", "\"\"".repeat(30))).collect();
    let text = format!("code{columns}\nA\n");
    assert!(text.len() < 64 * 1024, "a legal header");
    let keys: Vec<String> = (0..60).map(|i| world.upload(&format!("{i}.csv"), text.clone())).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut run = world.import_objects(&keys);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);

    let (mut seen, mut query, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let found = page(&world, run.job, &query).await;
        assert!(found.to_string().len() < 5 * 1024 * 1024, "{}", found.to_string().len());
        pages += 1;
        seen.extend(numbers(&found));
        match found["next"].as_str() {
            Some(next) => query = format!("cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (1..=60).collect::<Vec<_>>());
    assert!(pages > 1);
}

/// The job names the first twenty; all are among its files.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_many_bad_files_stays_small() {
    let world = World::new().await;
    for (name, text) in [("open", "serial\n1\n"), ("load", "code,sku\nA,\"\n")] {
        let keys: Vec<String> = (0..23).map(|i| world.upload(&format!("{name}/{i:02}.csv"), text)).collect();
        let good = world.upload(&format!("{name}/good.csv"), "code\nA\n");
        let keys: Vec<&str> = keys.iter().chain([&good]).map(String::as_str).collect();
        let mut run = world.import_objects(&keys);
        let error = run.until(State::MarkDuplicates).await.error();
        assert!(error.message.starts_with("23 of 24 files rejected: "), "{error}");
        assert!(error.message.contains("; and 3 more"), "{error}");
        let id = world
            .db
            .value("SELECT id FROM onceload.codes_import_jobs ORDER BY created_at DESC LIMIT 1")
            .await;
        let job = JobId(id.parse().unwrap());
        let shown = get(&world, &world.actor, &format!("/imports/{job}")).await.body;
        assert_eq!(shown["error_message"].as_str().unwrap().matches(".csv").count(), 20);
        assert_eq!(shown["validation_errors"].as_array().unwrap().len(), 20);
        assert_eq!(shown["files"]["failed"], 23, "{name}");
        let files = page(&world, job, "").await;
        let failed = files["files"].as_array().unwrap().iter().filter(|file| file["status"] == "failed");
        assert_eq!(failed.count(), 23);
    }
}
