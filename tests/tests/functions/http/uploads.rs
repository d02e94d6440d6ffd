//! Uploads through links that are signed for one object, one size and a short time, and are completed once.

use onceload_tests::execution::budget;
use onceload_tests::fixture::{add_member, add_merchant, objects_at, subject, unused_endpoint};
use onceload_tests::http::{Response, receive, request};
use onceload_tests::links::put;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MIB: usize = 1024 * 1024;

async fn post(world: &World, subject: &str, path: &str, body: &Value) -> Response {
    receive(
        import_jobs::handle(world.app.clone(), request("POST", path, Some(subject), &body.to_string())).await,
    )
}

async fn declare(world: &World, name: &str, size: usize, batch: Option<&str>) -> Response {
    let mut body = json!({ "merchant_id": world.merchant, "name": name, "size": size });
    if let Some(batch) = batch {
        body["batch"] = json!(batch);
    }
    post(world, &subject(&world.actor), "/uploads", &body).await
}

async fn complete(world: &World, declared: &Response, parts: &Value) -> Response {
    let path = format!("/uploads/{}/complete", declared.body["upload_id"].as_str().unwrap());
    post(world, &subject(&world.actor), &path, &json!({ "parts": parts })).await
}

/// Sends every part, and returns what completing the upload names.
async fn put_parts(declared: &Response) -> Value {
    let mut sent = Vec::new();
    for part in declared.body["parts"].as_array().unwrap() {
        let size = usize::try_from(part["size"].as_u64().unwrap()).unwrap();
        let (_, etag) = put(&part["url"], vec![b'x'; size]).await;
        sent.push(json!({ "number": part["number"], "etag": etag }));
    }
    sent.into()
}

fn member_names(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_takes_exactly_the_signed_size() {
    let world = World::new().await;
    let text = b"code\nA\nB\n".to_vec();
    let declared = declare(&world, "a.csv", text.len(), None).await;
    assert_eq!(declared.status, 201, "{declared:?}");
    let id = declared.body["upload_id"].as_str().unwrap();
    let key = format!("uploads/{}/{id}/a.csv", world.merchant);
    assert_eq!(declared.body["key"], json!(key));
    assert_eq!(declared.header("location"), Some(format!("/uploads/{id}").as_str()));
    assert!(!member_names(&declared.body).contains("parts"), "{declared:?}");
    let url = declared.body["url"].as_str().unwrap();
    let signed = "X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match";
    assert!(url.contains(signed), "size and condition are signed: {url}");
    assert_eq!(declared.body["headers"], json!({ "if-none-match": "*" }), "what the PUT must send besides");
    assert!(url.contains("X-Amz-Expires=900"), "{url}");

    let unsent = complete(&world, &declared, &json!([])).await;
    assert_eq!(unsent.status, 422, "{unsent:?}");
    for other in [text.len() - 1, text.len() + 1, 0] {
        let (status, _) = put(&declared.body["url"], vec![b'x'; other]).await;
        assert_eq!(status, 403, "{other} bytes where {} are signed", text.len());
    }
    let elsewhere = json!(url.replace("/a.csv", "/b.csv"));
    assert_eq!(put(&elsewhere, text.clone()).await.0, 403, "a link is signed for its key");
    let prolonged = json!(url.replace("X-Amz-Expires=900", "X-Amz-Expires=90000"));
    assert_eq!(put(&prolonged, text.clone()).await.0, 403, "a link is signed for its expiry");
    assert!(world.s3.keys().is_empty());
    assert_eq!(put(&declared.body["url"], text.clone()).await.0, 200);

    let done = complete(&world, &declared, &json!([])).await;
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!((&done.body["key"], &done.body["size"]), (&json!(key), &json!(text.len())));
    let again = complete(&world, &declared, &json!([])).await;
    assert_eq!((again.status, &again.body), (201, &done.body), "a repeated request gets the same response");
    assert_eq!(world.s3.get(&key).expect("the object"), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_assembled_into_one_object_once() {
    let world = World::new().await;
    let size = 40 * MIB + 5;
    let declared = declare(&world, "big.csv.gz", size, None).await;
    assert_eq!(declared.status, 201, "{declared:?}");
    let parts = declared.body["parts"].as_array().unwrap().clone();
    let sizes: Vec<usize> =
        parts.iter().map(|part| usize::try_from(part["size"].as_u64().unwrap()).unwrap()).collect();
    assert_eq!(sizes, [8 * MIB, 8 * MIB, 8 * MIB, 8 * MIB, 8 * MIB, 5]);
    assert_eq!(put(&parts[5]["url"], vec![b'x'; 6]).await.0, 403, "the last part's size is signed, too");

    // A repeated declaration returns the same upload with new links to the same parts.
    let id = declared.body["upload_id"].as_str().unwrap();
    let again = declare(&world, "big.csv.gz", size, Some(id)).await;
    assert_eq!((again.status, &again.body["upload_id"]), (201, &declared.body["upload_id"]), "{again:?}");
    assert_eq!(world.s3.open_multiparts().len(), 1);

    let mut sent = Vec::new();
    for (at, size) in sizes.iter().enumerate().rev() {
        let from = if at % 2 == 0 { &parts } else { again.body["parts"].as_array().unwrap() };
        let (status, etag) = put(&from[at]["url"], vec![b'a' + u8::try_from(at).unwrap(); *size]).await;
        assert_eq!(status, 200);
        sent.push(json!({ "number": at + 1, "etag": etag }));
    }
    let mut wrong = sent.clone();
    wrong[2]["etag"] = json!("\"0123\"");
    assert_eq!(complete(&world, &declared, &json!(wrong)).await.problem(), (422, "/parts/2"));
    assert_eq!(complete(&world, &declared, &json!([])).await.problem(), (422, "/parts"));

    // Two concurrent completions make one object.
    let parts = json!(sent);
    let (first, second) =
        tokio::join!(complete(&world, &declared, &parts), complete(&world, &declared, &parts));
    assert_eq!((first.status, second.status), (201, 201), "{first:?} {second:?}");
    assert_eq!(first.body, second.body);
    let key = declared.body["key"].as_str().unwrap();
    let whole = world.s3.get(key).expect("the object");
    assert_eq!(whole.len(), size);
    assert_eq!(
        (whole[0], whole[9 * MIB], whole[size - 1]),
        (b'a', b'b', b'f'),
        "parts are joined in the order of their numbers"
    );
    assert!(world.s3.open_multiparts().is_empty());
    let taken = declare(&world, "big.csv.gz", size, Some(id)).await;
    assert_eq!((taken.status, &taken.body["type"]), (409, &json!("urn:onceload:problem:name-taken")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_another_size_than_declared_is_deleted() {
    let world = World::new().await;
    let declared = declare(&world, "part.csv", 20 * MIB, None).await;
    let parts = declared.body["parts"].as_array().unwrap();
    let (_, etag) = put(&parts[0]["url"], vec![b'x'; 8 * MIB]).await;
    let sent = json!([{ "number": 1, "etag": etag }]);
    let short = complete(&world, &declared, &sent).await;
    assert_eq!(short.problem(), (422, "/parts"), "{short:?}");
    assert!(world.s3.open_multiparts().is_empty() && world.s3.keys().is_empty());
    assert_eq!(complete(&world, &declared, &sent).await.status, 422, "a repeated completion is refused, too");

    // S3 refuses a size other than the signed one; for a store that doesn't, the completion does.
    let declared = declare(&world, "one.csv", 10, None).await;
    let key = declared.body["key"].as_str().unwrap();
    world.s3.put(key, "code\nA\n");
    assert_eq!(complete(&world, &declared, &json!([])).await.status, 422);
    assert_eq!(world.s3.get(key), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_that_died_before_recording_is_repeated() {
    let world = World::new().await;
    let declared = declare(&world, "a.csv", 17 * MIB, None).await;
    let sent = put_parts(&declared).await;
    assert_eq!(complete(&world, &declared, &sent).await.status, 201);
    world
        .db
        .exec("UPDATE onceload.uploads SET status = 'open', completed_at = NULL, version_id = NULL, etag = NULL")
        .await;
    let again = complete(&world, &declared, &sent).await;
    assert_eq!(again.status, 201, "{again:?}");
    assert_eq!(world.db.value("SELECT status FROM onceload.uploads").await, "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_upload_cannot_be_completed() {
    let world = World::new().await;
    let declared = declare(&world, "a.csv", 7, None).await;
    world.s3.put(declared.body["key"].as_str().unwrap(), "code\nA\n");
    world.db.exec("UPDATE onceload.uploads SET expires_at = now() - interval '61 minutes'").await;
    let late = complete(&world, &declared, &json!([])).await;
    assert_eq!((late.status, &late.body["type"]), (409, &json!("urn:onceload:problem:upload-expired")));
    // After a new declaration the upload can be completed.
    let id = declared.body["upload_id"].as_str().unwrap();
    assert_eq!(declare(&world, "a.csv", 7, Some(id)).await.body["upload_id"], json!(id));
    assert_eq!(complete(&world, &declared, &json!([])).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_shares_a_prefix_and_each_name_is_unique() {
    let world = World::new().await;
    let first = declare(&world, "1.csv", 7, Some("spring")).await;
    let second = declare(&world, "2.csv", 7, Some("spring")).await;
    let prefix = format!("uploads/{}/spring/", world.merchant);
    for (response, name) in [(&first, "1.csv"), (&second, "2.csv")] {
        assert_eq!(response.body["key"], json!(format!("{prefix}{name}")), "{response:?}");
    }
    assert_ne!(first.body["upload_id"], second.body["upload_id"]);
    assert_eq!(declare(&world, "1.csv", 8, Some("spring")).await.status, 409, "another size is another file");
    let colleague = add_member(&world.db, world.merchant).await;
    let body = json!({ "merchant_id": world.merchant, "name": "1.csv", "size": 7, "batch": "spring" });
    assert_eq!(
        post(&world, &subject(&colleague), "/uploads", &body).await.status,
        409,
        "the upload belongs to another member"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_uploads_and_strangers_are_refused() {
    let world = World::new().await;
    let other = add_merchant(&world.db, "Other").await;
    let stranger = add_member(&world.db, other).await;
    let declared = declare(&world, "a.csv", 7, None).await;
    let path = format!("/uploads/{}/complete", declared.body["upload_id"].as_str().unwrap());
    let me = subject(&world.actor);
    let good = json!({ "merchant_id": world.merchant, "name": "b.csv", "size": 7 });
    assert_eq!(post(&world, &subject(&stranger), &path, &json!({ "parts": [] })).await.status, 404);
    assert_eq!(post(&world, &subject(&stranger), "/uploads", &good).await.status, 404);
    let nobody = request("POST", "/uploads", None, &good.to_string());
    assert_eq!(receive(import_jobs::handle(world.app.clone(), nobody).await).status, 401);
    assert_eq!(post(&world, &me, "/uploads/none/complete", &json!({})).await.status, 404);
    let unknown = format!("/uploads/{}/complete", other);
    assert_eq!(post(&world, &me, &unknown, &json!({ "parts": [] })).await.status, 404);
    let theirs = json!({ "merchant_id": other, "name": 7, "colour": "red" });
    assert_eq!(post(&world, &me, "/uploads", &theirs).await.status, 404, "404 comes before 422");

    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body
    };
    for (body, pointer) in [
        (with("name", json!("a/b.csv")), "/name"),
        (with("name", json!("../b.csv")), "/name"),
        (with("name", json!("b\n.csv")), "/name"),
        (with("name", json!("b.exe")), "/name"),
        (with("name", json!("manifest.json")), "/name"),
        (with("name", json!("")), "/name"),
        (with("size", json!(0)), "/size"),
        (with("size", json!(-1)), "/size"),
        (with("size", json!(5_497_558_138_881_u64)), "/size"),
        (with("size", json!("7")), "/size"),
        (with("batch", json!("a/b")), "/batch"),
        (with("batch", json!("..")), "/batch"),
        (with("bucket", json!("other")), "/bucket"),
        (with("merchant_id", json!("me")), "/merchant_id"),
        (json!([]), ""),
    ] {
        assert_eq!(post(&world, &me, "/uploads", &body).await.problem(), (422, pointer), "{body}");
    }
    let no_json = request("POST", "/uploads", Some(&me), "{");
    assert_eq!(receive(import_jobs::handle(world.app.clone(), no_json).await).status, 400);
    assert_eq!(
        world.db.int("SELECT count(*) FROM onceload.uploads").await,
        1,
        "what is refused leaves nothing"
    );

    // The links of the largest upload fit into Lambda's response limit.
    let largest = post(&world, &me, "/uploads", &with("size", json!(5_497_558_138_880_u64))).await;
    assert_eq!(largest.status, 201);
    assert!(largest.body["parts"].as_array().unwrap().len() <= 2000);
    // Lambda's session token makes each link about 1,400 bytes longer than here.
    assert!(largest.body.to_string().len() + 2000 * 1400 < 5_500_000, "{}", largest.body.to_string().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_forgets_uploads_past_their_retention() {
    let world = World::new().await;
    let sweep = async || sweep_imports::handle(world.app.clone(), json!({}), budget()).await;
    let done = declare(&world, "done.csv", 7, Some("spring")).await;
    assert_eq!(put(&done.body["url"], b"code\nA\n".to_vec()).await.0, 200);
    assert_eq!(complete(&world, &done, &json!([])).await.status, 201);
    declare(&world, "large.csv", 20 * MIB, Some("spring")).await;
    declare(&world, "young.csv", 20 * MIB, Some("spring")).await;
    assert_eq!(world.s3.open_multiparts().len(), 2);
    let age = async |days: u32| {
        let sql = format!(
            "UPDATE onceload.uploads SET expires_at = now() - interval '{days} days' WHERE key NOT LIKE '%/young.csv'"
        );
        world.db.exec(&sql).await;
    };
    // Objects stay for 30 days, and an upload is kept as long as its object.
    age(31).await;
    assert_eq!(sweep().await.unwrap().uploads_forgotten, 0);
    assert_eq!(declare(&world, "done.csv", 7, Some("spring")).await.status, 409);
    age(33).await;
    assert_eq!(sweep().await.unwrap().uploads_forgotten, 2);
    assert_eq!(world.s3.open_multiparts().len(), 1, "parts of uploads that were never completed are aborted");
    assert!(
        world.db.value("SELECT string_agg(key, ',') FROM onceload.uploads").await.ends_with("/young.csv")
    );
    assert_eq!(sweep().await.unwrap().uploads_forgotten, 0, "once");
    let again = declare(&world, "done.csv", 7, Some("spring")).await;
    assert_eq!(again.status, 201, "the name is free again");
    assert_ne!(again.body["upload_id"], done.body["upload_id"]);
}

/// If S3 can't abort the parts now, a later sweep does.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_kept_until_its_parts_are_aborted() {
    let world = World::new().await;
    declare(&world, "large.csv", 20 * MIB, None).await;
    world.db.exec("UPDATE onceload.uploads SET expires_at = now() - interval '33 days'").await;
    let mut cut_off = world.app.clone();
    cut_off.clients = cut_off.clients.with_objects(objects_at(&unused_endpoint()));
    let error = sweep_imports::handle(cut_off, json!({}), budget()).await.unwrap_err();
    assert!(error.message.contains("old uploads"), "{error}");
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.uploads").await, 1);
    let swept = sweep_imports::handle(world.app.clone(), json!({}), budget()).await.unwrap();
    assert_eq!((swept.uploads_forgotten, world.s3.open_multiparts().len()), (1, 0));
}

/// An import reads the version that was checked. A link works once, and a later write by other means changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_after_the_completion_is_not_imported() {
    let world = World::new().await;
    let declared = declare(&world, "a.csv", 9, None).await;
    let url = &declared.body["url"];
    assert_eq!(put(url, b"code\nA\nB\n".to_vec()).await.0, 200);
    assert_eq!(put(url, b"code\nX\nY\n".to_vec()).await.0, 412, "before the completion");
    let done = complete(&world, &declared, &json!([])).await;
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(put(url, b"code\nX\nY\n".to_vec()).await.0, 412, "after the completion");
    let key = declared.body["key"].as_str().unwrap();
    world.s3.put(key, "code\nX\nY\nZ\n");

    let version = &done.body["version_id"];
    let request = json!({ "merchant_id": world.merchant, "files": [key] });
    let checked = post(&world, &subject(&world.actor), "/imports/check", &request).await;
    assert_eq!(
        (&checked.body["files"][0]["version_id"], &checked.body["totals"]["staged"]),
        (version, &json!(2))
    );
    let prefix = key.strip_suffix("a.csv").unwrap();
    let mut run = Run::new(&world.app, json!({ "merchant_id": world.merchant, "prefix": prefix }));
    run.finish(&world.actor).await.expect(State::Done);
    let codes = "SELECT string_agg(code, ',' ORDER BY code) FROM onceload.codes";
    assert_eq!(world.db.value(codes).await, "A,B");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_and_a_start_over_http_take_the_completed_version() {
    let world = World::new().await;
    let me = subject(&world.actor);
    let declared = declare(&world, "a.csv", 7, None).await;
    assert_eq!(put(&declared.body["url"], b"code\nA\n".to_vec()).await.0, 200);
    let done = complete(&world, &declared, &json!([])).await;
    let key = declared.body["key"].as_str().unwrap();
    world.s3.put(key, "code\nX\n");
    let frozen = async |started: &Response| {
        assert_eq!(started.status, 202, "{started:?}");
        let job = started.body["jobId"].as_str().unwrap();
        let sql = format!("SELECT version_id FROM onceload.import_files WHERE job_id = '{job}'");
        json!(world.db.value(&sql).await)
    };

    let body = json!({ "merchant_id": world.merchant, "files": [key] }).to_string();
    let start = request("POST", "/imports/queue-processing", Some(&me), &body);
    let started = receive(queue_processing::handle(world.app.clone(), start).await);
    assert_eq!(frozen(&started).await, done.body["version_id"]);

    let body =
        json!({ "merchant_id": world.merchant, "file": key, "mapping": { "code": "Code" } }).to_string();
    let run = request("POST", "/migrations/run", Some(&me), &body);
    let started = receive(run_migration::handle(world.app.clone(), run).await);
    assert_eq!(frozen(&started).await, done.body["version_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_bucket_without_versions_a_replaced_upload_is_a_fault() {
    let world = World::new().await;
    let declared = declare(&world, "a.csv", 7, None).await;
    assert_eq!(put(&declared.body["url"], b"code\nA\n".to_vec()).await.0, 200);
    assert_eq!(complete(&world, &declared, &json!([])).await.status, 201);
    world.db.exec("UPDATE onceload.uploads SET version_id = NULL").await;
    let key = declared.body["key"].as_str().unwrap();
    world.s3.put(key, "code\nX\n");
    let request = json!({ "merchant_id": world.merchant, "files": [key] });
    let checked = post(&world, &subject(&world.actor), "/imports/check", &request).await;
    assert_eq!(checked.body["files"][0]["fault"]["reason"], "missing_object", "{checked:?}");
    let error = world.import_objects(&[key]).until(State::LoadFiles).await.error();
    assert!(error.message.contains("replaced after its upload was completed"), "{error}");
}

/// An object that came some other way keeps its place, and the parts are removed.
#[tokio::test(flavor = "multi_thread")]
async fn parts_do_not_replace_an_object() {
    let world = World::new().await;
    let declared = declare(&world, "a.csv", 17 * MIB, None).await;
    let sent = put_parts(&declared).await;
    let key = declared.body["key"].as_str().unwrap();
    world.s3.put(key, "code\nA\n");
    let refused = complete(&world, &declared, &sent).await;
    assert_eq!(refused.problem(), (422, ""), "an object of another size than declared: {refused:?}");
    assert!(world.s3.open_multiparts().is_empty());
}
