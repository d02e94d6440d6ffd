//! Uploads through signed links, and checks of the uploaded files.

use crate::csv;
use crate::merchant::Merchant;
use crate::stack::Answer;
use onceload_tests::links::put;
use serde_json::{Value, json};

async fn declare(merchant: &Merchant, name: &str, size: usize, batch: Option<&str>) -> Answer {
    let mut body = json!({ "merchant_id": merchant.id, "name": name, "size": size });
    if let Some(batch) = batch {
        body["batch"] = json!(batch);
    }
    merchant.post("/uploads", body).await
}

async fn complete(merchant: &Merchant, declared: &Answer, parts: &Value) -> Answer {
    let path = format!("/uploads/{}/complete", declared.body["upload_id"].as_str().expect("an id"));
    merchant.post(&path, json!({ "parts": parts })).await
}

#[tokio::test]
async fn an_uploaded_file_is_checked_and_imported() {
    let merchant = Merchant::new("uploads").await;
    let codes = csv::codes("U", 0..50);
    let text = csv::file(&codes);
    let small = declare(&merchant, "small.csv", text.len(), Some("one-batch")).await;
    assert_eq!(small.status, 201, "{small:?}");
    assert_eq!(small.body["key"], json!(format!("uploads/{}/one-batch/small.csv", merchant.id)));
    let url = small.body["url"].as_str().expect("a link");
    assert!(url.contains("content-length") && url.contains("X-Amz-Expires="), "{url}");
    assert_eq!(small.body["headers"], json!({ "if-none-match": "*" }));
    assert_eq!(complete(&merchant, &small, &json!([])).await.status, 422, "nothing was uploaded yet");
    assert_eq!(put(&small.body["url"], text.clone()).await.0, 200);
    assert_eq!(put(&small.body["url"], text.clone()).await.0, 412, "a link takes one object");
    let done = complete(&merchant, &small, &json!([])).await;
    assert_eq!(done.status, 201, "{done:?}");
    assert!(done.body["version_id"].is_string(), "{done:?}");
    assert_eq!(
        complete(&merchant, &small, &json!([])).await.body,
        done.body,
        "a repeated request gets the same response"
    );

    assert_eq!(put(&small.body["url"], text).await.0, 412);
    // Whoever may write to the bucket comes too late, too.
    merchant.put(small.body["key"].as_str().expect("a key"), "code\nLATE\n").await;

    // 20 MB in parts.
    let long = "y".repeat(250);
    let rows: String = (0..27_000).map(|i| format!("V{i:06},{long},{long},{long}\n")).collect();
    let large_text = format!("code,serial,sku,sku_name\n{rows}").into_bytes();
    let large = declare(&merchant, "large.csv", large_text.len(), Some("one-batch")).await;
    assert_eq!(large.status, 201, "{:?}", large.status);
    let mut sent = Vec::new();
    let mut rest = &large_text[..];
    for part in large.body["parts"].as_array().expect("parts") {
        let size = usize::try_from(part["size"].as_u64().expect("a size")).expect("a size");
        let (piece, after) = rest.split_at(size);
        rest = after;
        let (status, etag) = put(&part["url"], piece.to_vec()).await;
        assert_eq!(status, 200);
        sent.push(json!({ "number": part["number"], "etag": etag }));
    }
    assert_eq!(sent.len(), 3);
    let done = complete(&merchant, &large, &json!(sent)).await;
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(
        complete(&merchant, &large, &json!(sent)).await.status,
        201,
        "a repeated request gets the same response"
    );

    let prefix = format!("uploads/{}/one-batch/", merchant.id);
    let checked =
        merchant.post("/imports/check", json!({ "merchant_id": merchant.id, "prefix": prefix })).await;
    assert_eq!(checked.status, 200, "{checked:?}");
    assert_eq!(checked.body["totals"]["records"], json!({ "count": 27_050, "exact": true }));
    let execution = merchant.start_execution(&json!({ "merchant_id": merchant.id, "prefix": prefix })).await;
    let job = merchant.only_import().await;
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(waiting["counts"]["records"], json!(27_050), "as the check reported");
    assert_eq!(merchant.cancel(&job).await.status, 202);
    merchant.wait_for_end(&execution).await;
    merchant.wait_for_rest().await;
}

#[tokio::test]
async fn invalid_uploads_are_refused() {
    let merchant = Merchant::new("bad uploads").await;
    let stack = &merchant.stack;
    let good = json!({ "merchant_id": merchant.id, "name": "a.csv", "size": 20_000_000 });
    let declared = merchant.post("/uploads", &good).await;
    let path = format!("/uploads/{}/complete", declared.body["upload_id"].as_str().expect("an id"));
    for (path, body) in [
        ("/uploads", good.clone()),
        (path.as_str(), json!({ "parts": [] })),
        ("/imports/check", json!({ "merchant_id": merchant.id, "prefix": "x" })),
    ] {
        assert_eq!(stack.post(None, path, &body).await.status, 401, "{path}");
        assert_eq!(stack.post(Some(stack.token(1)), path, &body).await.status, 404, "another tenant: {path}");
        assert_eq!(merchant.post(path, "{").await.status, 400, "{path}");
        assert_eq!(merchant.post(path, json!({ "colour": "red" })).await.status, 422, "{path}");
    }
    // With a part missing, the size is wrong and the parts are discarded.
    let first = &declared.body["parts"][0];
    let size = usize::try_from(first["size"].as_u64().expect("a size")).expect("a size");
    let (_, etag) = put(&first["url"], vec![b'x'; size]).await;
    let short = merchant.post(&path, json!({ "parts": [{ "number": 1, "etag": etag }] })).await;
    assert_eq!(short.status, 422, "{short:?}");
    let key = declared.body["key"].as_str().expect("a key");
    let open = stack.s3.list_multipart_uploads().bucket(&stack.file.bucket).prefix(key).send().await;
    assert!(open.expect("a list").uploads().is_empty(), "aborted");

    // S3 refuses a size other than the signed one.
    let declared = declare(&merchant, "b.csv", 100, Some("taken")).await;
    let (status, _) = put(&declared.body["url"], vec![b'x'; 99]).await;
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(complete(&merchant, &declared, &json!([])).await.status, 422, "nothing was uploaded");
    assert_eq!(put(&declared.body["url"], vec![b'x'; 100]).await.0, 200);
    assert_eq!(complete(&merchant, &declared, &json!([])).await.status, 201);
    assert_eq!(declare(&merchant, "b.csv", 100, Some("taken")).await.status, 409);

    let declared = declare(&merchant, "c.csv", 100, None).await;
    merchant
        .db
        .batch_execute(&format!(
            "UPDATE onceload.uploads SET expires_at = now() - interval '2 hours' WHERE id = '{}'",
            declared.body["upload_id"].as_str().expect("an id")
        ))
        .await
        .expect("too late");
    assert_eq!(complete(&merchant, &declared, &json!([])).await.status, 409);
}

#[tokio::test]
async fn a_user_with_four_checks_under_way_is_told_to_wait() {
    let merchant = Merchant::new("checks").await;
    let (token, user) = merchant.new_member().await;
    let key = merchant.key("uploads", "a.csv");
    merchant.put(&key, csv::file(&csv::codes("A", 0..5))).await;
    let check = async || {
        let body = json!({ "merchant_id": merchant.id, "files": [key] });
        merchant.stack.post(Some(&token), "/imports/check", body).await
    };
    let running = async |until: &str| {
        let sql =
            format!("UPDATE onceload.users SET checks = array_fill({until}, ARRAY[4]) WHERE id = '{user}'");
        merchant.db.batch_execute(&sql).await.expect("four checks");
    };
    running("now() + interval '20 s'").await;
    let refused = check().await;
    assert_eq!(
        (refused.status, &refused.body["type"]),
        (429, &json!("urn:onceload:problem:check-in-progress")),
        "{refused:?}"
    );
    assert!(refused.retry_after.is_some(), "{refused:?}");
    running("now()").await;
    assert_eq!(check().await.status, 200);
}
