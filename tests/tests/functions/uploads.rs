//! Uploads through links: signed for one object, one size and a short time; completed once, and only as declared.

use onceload_tests::Bench;
use onceload_tests::drive::budget;
use onceload_tests::fixture::{add_member, add_merchant, closed_endpoint, objects_at};
use onceload_tests::http::{Said, request, said};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MIB: usize = 1024 * 1024;

async fn post(bench: &Bench, subject: &str, path: &str, body: &Value) -> Said {
    said(
        import_jobs::handle(bench.app.clone(), request("POST", path, Some(subject), &body.to_string())).await,
    )
}

fn subject(actor: &shared::db::decisions::Actor) -> String {
    format!("subject-{}", actor.user)
}

async fn declare(bench: &Bench, name: &str, size: usize, batch: Option<&str>) -> Said {
    let mut body = json!({ "merchant_id": bench.merchant, "name": name, "size": size });
    if let Some(batch) = batch {
        body["batch"] = json!(batch);
    }
    post(bench, &subject(&bench.actor), "/uploads", &body).await
}

async fn complete(bench: &Bench, declared: &Said, parts: &Value) -> Said {
    let path = format!("/uploads/{}/complete", declared.body["upload_id"].as_str().unwrap());
    post(bench, &subject(&bench.actor), &path, &json!({ "parts": parts })).await
}

/// PUTs to a link; the status and the etag.
async fn put(url: &Value, bytes: Vec<u8>) -> (u16, String) {
    let url = url.as_str().expect("a link").to_owned();
    let put = move || {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let answer = ureq::Agent::from(config).put(&url).send(&bytes[..]).expect("an answer of S3");
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap_or_default().to_owned());
        (answer.status().as_u16(), etag.unwrap_or_default())
    };
    tokio::task::spawn_blocking(put).await.expect("a PUT")
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_put_of_the_signed_size() {
    let bench = Bench::new().await;
    let text = b"code\nA\nB\n".to_vec();
    let declared = declare(&bench, "a.csv", text.len(), None).await;
    assert_eq!(declared.status, 201, "{declared:?}");
    let id = declared.body["upload_id"].as_str().unwrap();
    let key = format!("uploads/{}/{id}/a.csv", bench.merchant);
    assert_eq!(declared.body["key"], json!(key));
    assert_eq!(declared.header("location"), Some(format!("/uploads/{id}").as_str()));
    assert!(!members(&declared.body).contains("parts"), "{declared:?}");
    let url = declared.body["url"].as_str().unwrap();
    assert!(url.contains("X-Amz-SignedHeaders=content-length%3Bhost"), "the size is signed: {url}");
    assert!(url.contains("X-Amz-Expires=900"), "{url}");

    let unsent = complete(&bench, &declared, &json!([])).await;
    assert_eq!(unsent.status, 422, "{unsent:?}");
    for other in [text.len() - 1, text.len() + 1, 0] {
        let (status, _) = put(&declared.body["url"], vec![b'x'; other]).await;
        assert_eq!(status, 403, "{other} bytes where {} are signed", text.len());
    }
    let elsewhere = json!(url.replace("/a.csv", "/b.csv"));
    assert_eq!(put(&elsewhere, text.clone()).await.0, 403, "another key");
    let prolonged = json!(url.replace("X-Amz-Expires=900", "X-Amz-Expires=90000"));
    assert_eq!(put(&prolonged, text.clone()).await.0, 403, "a longer life");
    assert!(bench.s3.keys().is_empty());
    assert_eq!(put(&declared.body["url"], text.clone()).await.0, 200);

    let done = complete(&bench, &declared, &json!([])).await;
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!((&done.body["key"], &done.body["size"]), (&json!(key), &json!(text.len())));
    let again = complete(&bench, &declared, &json!([])).await;
    assert_eq!((again.status, &again.body), (201, &done.body), "twice is once");
    assert_eq!(bench.s3.get(&key).expect("the object"), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_make_the_whole_object_once() {
    let bench = Bench::new().await;
    let size = 40 * MIB + 5;
    let declared = declare(&bench, "big.csv.gz", size, None).await;
    assert_eq!(declared.status, 201, "{declared:?}");
    let parts = declared.body["parts"].as_array().unwrap().clone();
    let sizes: Vec<usize> =
        parts.iter().map(|part| usize::try_from(part["size"].as_u64().unwrap()).unwrap()).collect();
    assert_eq!(sizes, [8 * MIB, 8 * MIB, 8 * MIB, 8 * MIB, 8 * MIB, 5]);
    assert_eq!(put(&parts[5]["url"], vec![b'x'; 6]).await.0, 403, "the last part's size is signed as well");

    // The same again: the same upload, with fresh links to the same parts.
    let id = declared.body["upload_id"].as_str().unwrap();
    let again = declare(&bench, "big.csv.gz", size, Some(id)).await;
    assert_eq!((again.status, &again.body["upload_id"]), (201, &declared.body["upload_id"]), "{again:?}");
    assert_eq!(bench.s3.open_multiparts().len(), 1);

    let mut sent = Vec::new();
    for (at, size) in sizes.iter().enumerate().rev() {
        let from = if at % 2 == 0 { &parts } else { again.body["parts"].as_array().unwrap() };
        let (status, etag) = put(&from[at]["url"], vec![b'a' + u8::try_from(at).unwrap(); *size]).await;
        assert_eq!(status, 200);
        sent.push(json!({ "number": at + 1, "etag": etag }));
    }
    let mut wrong = sent.clone();
    wrong[2]["etag"] = json!("\"0123\"");
    assert_eq!(complete(&bench, &declared, &json!(wrong)).await.problem(), (422, "/parts/2"));
    assert_eq!(complete(&bench, &declared, &json!([])).await.problem(), (422, "/parts"));

    // Two at a time: one object.
    let parts = json!(sent);
    let (first, second) =
        tokio::join!(complete(&bench, &declared, &parts), complete(&bench, &declared, &parts));
    assert_eq!((first.status, second.status), (201, 201), "{first:?} {second:?}");
    assert_eq!(first.body, second.body);
    let key = declared.body["key"].as_str().unwrap();
    let whole = bench.s3.get(key).expect("the object");
    assert_eq!(whole.len(), size);
    assert_eq!(
        (whole[0], whole[9 * MIB], whole[size - 1]),
        (b'a', b'b', b'f'),
        "in the order of their numbers"
    );
    assert!(bench.s3.open_multiparts().is_empty());
    let taken = declare(&bench, "big.csv.gz", size, Some(id)).await;
    assert_eq!((taken.status, &taken.body["type"]), (409, &json!("urn:onceload:problem:name-taken")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_declared_is_removed() {
    let bench = Bench::new().await;
    let declared = declare(&bench, "part.csv", 20 * MIB, None).await;
    let parts = declared.body["parts"].as_array().unwrap();
    let (_, etag) = put(&parts[0]["url"], vec![b'x'; 8 * MIB]).await;
    let sent = json!([{ "number": 1, "etag": etag }]);
    let short = complete(&bench, &declared, &sent).await;
    assert_eq!(short.problem(), (422, "/parts"), "{short:?}");
    assert!(bench.s3.open_multiparts().is_empty() && bench.s3.keys().is_empty());
    assert_eq!(complete(&bench, &declared, &sent).await.status, 422, "and stays so");

    // S3 refuses another size than is signed; where a store does not, this does.
    let declared = declare(&bench, "one.csv", 10, None).await;
    let key = declared.body["key"].as_str().unwrap();
    bench.s3.put(key, "code\nA\n");
    assert_eq!(complete(&bench, &declared, &json!([])).await.status, 422);
    assert_eq!(bench.s3.get(key), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_that_did_not_live_to_say_so() {
    let bench = Bench::new().await;
    let declared = declare(&bench, "a.csv", 17 * MIB, None).await;
    let mut sent = Vec::new();
    for part in declared.body["parts"].as_array().unwrap() {
        let size = usize::try_from(part["size"].as_u64().unwrap()).unwrap();
        let (_, etag) = put(&part["url"], vec![b'x'; size]).await;
        sent.push(json!({ "number": part["number"], "etag": etag }));
    }
    assert_eq!(complete(&bench, &declared, &json!(sent)).await.status, 201);
    bench.db.exec("UPDATE uploads SET status = 'open', completed_at = NULL, version_id = NULL").await;
    let again = complete(&bench, &declared, &json!(sent)).await;
    assert_eq!(again.status, 201, "{again:?}");
    assert_eq!(bench.db.value("SELECT status FROM uploads").await, "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_late_is_too_late() {
    let bench = Bench::new().await;
    let declared = declare(&bench, "a.csv", 7, None).await;
    bench.s3.put(declared.body["key"].as_str().unwrap(), "code\nA\n");
    bench.db.exec("UPDATE uploads SET expires_at = now() - interval '61 minutes'").await;
    let late = complete(&bench, &declared, &json!([])).await;
    assert_eq!((late.status, &late.body["type"]), (409, &json!("urn:onceload:problem:upload-expired")));
    // Declared again it may be completed.
    let id = declared.body["upload_id"].as_str().unwrap();
    assert_eq!(declare(&bench, "a.csv", 7, Some(id)).await.body["upload_id"], json!(id));
    assert_eq!(complete(&bench, &declared, &json!([])).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_lie_together_and_names_are_taken_once() {
    let bench = Bench::new().await;
    let first = declare(&bench, "1.csv", 7, Some("spring")).await;
    let second = declare(&bench, "2.csv", 7, Some("spring")).await;
    let prefix = format!("uploads/{}/spring/", bench.merchant);
    for (said, name) in [(&first, "1.csv"), (&second, "2.csv")] {
        assert_eq!(said.body["key"], json!(format!("{prefix}{name}")), "{said:?}");
    }
    assert_ne!(first.body["upload_id"], second.body["upload_id"]);
    assert_eq!(declare(&bench, "1.csv", 8, Some("spring")).await.status, 409, "another size is another file");
    let colleague = add_member(&bench.db, bench.merchant).await;
    let body = json!({ "merchant_id": bench.merchant, "name": "1.csv", "size": 7, "batch": "spring" });
    assert_eq!(post(&bench, &subject(&colleague), "/uploads", &body).await.status, 409, "not their file");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_and_nothing_else() {
    let bench = Bench::new().await;
    let other = add_merchant(&bench.db, "Other").await;
    let stranger = add_member(&bench.db, other).await;
    let declared = declare(&bench, "a.csv", 7, None).await;
    let path = format!("/uploads/{}/complete", declared.body["upload_id"].as_str().unwrap());
    let me = subject(&bench.actor);
    let good = json!({ "merchant_id": bench.merchant, "name": "b.csv", "size": 7 });
    assert_eq!(post(&bench, &subject(&stranger), &path, &json!({ "parts": [] })).await.status, 404);
    assert_eq!(post(&bench, &subject(&stranger), "/uploads", &good).await.status, 404);
    let nobody = request("POST", "/uploads", None, &good.to_string());
    assert_eq!(said(import_jobs::handle(bench.app.clone(), nobody).await).status, 401);
    assert_eq!(post(&bench, &me, "/uploads/none/complete", &json!({})).await.status, 404);
    let unknown = format!("/uploads/{}/complete", other);
    assert_eq!(post(&bench, &me, &unknown, &json!({ "parts": [] })).await.status, 404);
    let theirs = json!({ "merchant_id": other, "name": 7, "colour": "red" });
    assert_eq!(post(&bench, &me, "/uploads", &theirs).await.status, 404, "404 comes before 422");

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
        assert_eq!(post(&bench, &me, "/uploads", &body).await.problem(), (422, pointer), "{body}");
    }
    let no_json = request("POST", "/uploads", Some(&me), "{");
    assert_eq!(said(import_jobs::handle(bench.app.clone(), no_json).await).status, 400);
    assert_eq!(bench.db.int("SELECT count(*) FROM uploads").await, 1, "what is refused leaves nothing");

    // The largest of all: an answer that Lambda can give.
    let largest = post(&bench, &me, "/uploads", &with("size", json!(5_497_558_138_880_u64))).await;
    assert_eq!(largest.status, 201);
    assert!(largest.body["parts"].as_array().unwrap().len() <= 2000);
    // A session token of Lambda's makes each link about 1,400 bytes longer than here.
    assert!(largest.body.to_string().len() + 2000 * 1400 < 5_500_000, "{}", largest.body.to_string().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_forgets_uploads_whose_objects_are_gone() {
    let bench = Bench::new().await;
    let sweep = async || sweep_imports::handle(bench.app.clone(), json!({}), budget()).await;
    let done = declare(&bench, "done.csv", 7, Some("spring")).await;
    assert_eq!(put(&done.body["url"], b"code\nA\n".to_vec()).await.0, 200);
    assert_eq!(complete(&bench, &done, &json!([])).await.status, 201);
    declare(&bench, "large.csv", 20 * MIB, Some("spring")).await;
    declare(&bench, "young.csv", 20 * MIB, Some("spring")).await;
    assert_eq!(bench.s3.open_multiparts().len(), 2);
    let age = async |days: u32| {
        let sql = format!(
            "UPDATE uploads SET expires_at = now() - interval '{days} days' WHERE key NOT LIKE '%/young.csv'"
        );
        bench.db.exec(&sql).await;
    };
    // 30 days is how long objects stay, and what is there is not forgotten.
    age(31).await;
    assert_eq!(sweep().await.unwrap().uploads_forgotten, 0);
    assert_eq!(declare(&bench, "done.csv", 7, Some("spring")).await.status, 409);
    age(33).await;
    assert_eq!(sweep().await.unwrap().uploads_forgotten, 2);
    assert_eq!(bench.s3.open_multiparts().len(), 1, "what was never completed is let go of");
    assert!(bench.db.value("SELECT string_agg(key, ',') FROM uploads").await.ends_with("/young.csv"));
    assert_eq!(sweep().await.unwrap().uploads_forgotten, 0, "once");
    let again = declare(&bench, "done.csv", 7, Some("spring")).await;
    assert_eq!(again.status, 201, "the name is free");
    assert_ne!(again.body["upload_id"], done.body["upload_id"]);
}

/// Parts that can't be let go of now are let go of by a later sweep.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_not_forgotten_before_its_parts_are() {
    let bench = Bench::new().await;
    declare(&bench, "large.csv", 20 * MIB, None).await;
    bench.db.exec("UPDATE uploads SET expires_at = now() - interval '33 days'").await;
    let mut cut_off = bench.app.clone();
    cut_off.clients = cut_off.clients.with_objects(objects_at(&closed_endpoint()));
    let error = sweep_imports::handle(cut_off, json!({}), budget()).await.unwrap_err();
    assert!(error.message.contains("old uploads"), "{error}");
    assert_eq!(bench.db.int("SELECT count(*) FROM uploads").await, 1);
    let swept = sweep_imports::handle(bench.app.clone(), json!({}), budget()).await.unwrap();
    assert_eq!((swept.uploads_forgotten, bench.s3.open_multiparts().len()), (1, 0));
}
