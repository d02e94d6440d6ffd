//! Objects that S3 doesn't hand out: each is its own fault, and the files beside it are checked and named as ever.

use onceload_tests::fixture::subject;
use onceload_tests::http::{receive, request};
use onceload_tests::objects::ReadFault;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::step::StepErrorKind;

async fn check(world: &World, files: &[String]) -> Vec<Value> {
    let body = json!({ "merchant_id": world.merchant, "files": files }).to_string();
    let request = request("POST", "/imports/check", Some(&subject(&world.actor)), &body);
    let answer = receive(import_jobs::handle(world.app.clone(), request).await);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["files"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_archived_file_is_named_and_a_restored_one_is_imported() {
    let world = World::new().await;
    let keys = ["a.csv", "b.csv", "c.csv"].map(|name| world.upload(name, format!("code\n{name}\n")));
    world.s3.archive(&keys[0], true);
    world.s3.archive(&keys[2], true);
    world.s3.inject_fault(&keys[1], ReadFault::default());

    let checked = check(&world, &keys).await;
    let reasons = |file: &Value| file["fault"]["reason"].as_str().unwrap_or("good").to_owned();
    let reasons: Vec<String> = checked.iter().map(reasons).collect();
    assert_eq!(reasons, ["archived_object", "good", "archived_object"], "{checked:#?}");
    assert!(checked[0]["fault"]["advice"].as_str().unwrap().contains("restore"), "{checked:#?}");
    assert_eq!(checked[1]["records"], json!({ "count": 1, "exact": true }));

    let mut run = world.import_objects(&[&keys[0], &keys[1], &keys[2]]);
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected);
    for key in [&keys[0], &keys[2]] {
        assert!(error.message.contains(&format!("{key}: archived_object")), "{error}");
    }
    let files = world.db.column("SELECT error_reason FROM onceload.import_files ORDER BY file_no").await;
    assert_eq!(files, ["archived_object", "", "archived_object"]);

    let job = world.db.value("SELECT to_jsonb(id) FROM onceload.codes_import_jobs").await;
    let run = Run { job: serde_json::from_str(&job).unwrap(), ..run };
    for key in &keys {
        world.s3.archive(key, false);
    }
    run.retry(&world.actor).await;
    Run::of_job(&world.app, run.job, 2).finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 3);
}

/// Between opening and loading an object may be archived, or its version removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_an_object_before_it_is_loaded_is_its_fault() {
    let world = World::new().await;
    for (name, reason) in
        [("gone.csv", "missing_object"), ("cold.csv", "archived_object"), ("mine.csv", "access_denied")]
    {
        let key = world.key_under_stage(name);
        let version = world.s3.put(&key, "code\nA\n");
        world.s3.put(&key, "code\nLATER\n");
        let mut run = Run::new(&world.app, json!({ "merchant_id": world.merchant, "files": [key] }));
        if reason == "missing_object" {
            run = Run::of_upload(&world.app, &world.key_under_import(name), &version);
            run.input["detail"]["object"]["key"] = json!(key);
        }
        run.until(State::LoadFiles).await.expect(State::LoadFiles);
        match reason {
            "missing_object" => world.s3.remove_version(&key, &version),
            "archived_object" => world.s3.archive(&key, true),
            _ => world.s3.inject_fault(&key, ReadFault { refuse: Some((403, 100)), ..ReadFault::default() }),
        }
        let error = run.until(State::InsertCodes).await.error();
        assert_eq!(error.kind, StepErrorKind::FileRejected, "{error}");
        assert!(error.message.contains(&format!("{key}: {reason}")), "{error}");
        let checked = check(&world, std::slice::from_ref(&key)).await;
        let expected = if reason == "missing_object" { Value::Null } else { json!(reason) };
        assert_eq!(checked[0]["fault"]["reason"], expected, "{checked:#?}");
    }
}
