//! Errors of the HTTP API are problem documents; lists are filtered and paged.

use crate::csv;
use crate::merchant::{Merchant, id_of};
use crate::stack::Answer;
use serde_json::json;

/// Asserts a problem document (RFC 9457) with a request id and nothing internal.
fn assert_problem(answer: &Answer, status: u16, name: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.content_type.starts_with("application/problem+json"), "{answer:?}");
    let id = answer.request_id.as_deref().unwrap_or_default();
    assert!(!id.is_empty(), "x-request-id: {answer:?}");
    assert_eq!(answer.body["type"], json!(format!("urn:onceload:problem:{name}")), "{answer:?}");
    assert_eq!(answer.body["status"], json!(status));
    for member in ["title", "detail", "instance"] {
        assert!(answer.body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {answer:?}");
    }
    let text = answer.body.to_string().to_lowercase();
    for internal in ["select ", "postgres", "constraint", "panicked"] {
        assert!(!text.contains(internal), "{internal}: {text}");
    }
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let merchant = Merchant::new("problems").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..5))).await;
    let approve = format!("/imports/{job}/approve");

    assert_problem(&merchant.get("/imports/0197a3c0-0000-7000-8000-0000000000ff").await, 404, "not-found");
    assert_problem(&merchant.get("/imports/none").await, 404, "not-found");
    assert_problem(
        &merchant.post("/imports/0197a3c0-0000-7000-8000-0000000000ff/approve", "{}").await,
        404,
        "not-found",
    );
    for body in ["", "{", "[1", "confirm=YES"] {
        assert_problem(&merchant.post(&approve, body).await, 400, "bad-request");
    }
    for (body, pointer) in [
        (json!({ "confirm": "YES", "clean_count": 5, "force": true }), "/force"),
        (json!({ "confirm": "YES", "clean_count": "five" }), "/clean_count"),
        (json!({ "confirm": 1, "clean_count": 5 }), "/confirm"),
        (json!({ "confirm": "no", "clean_count": 5 }), "/confirm"),
        (json!({ "confirm": "YES" }), ""),
        (json!([]), ""),
    ] {
        let answer = merchant.post(&approve, &body).await;
        assert_problem(&answer, 422, "invalid-request");
        let error = &answer.body["errors"][0];
        assert_eq!(error["pointer"], json!(pointer), "{body}: {answer:?}");
        assert!(error["detail"].is_string(), "{answer:?}");
    }
    assert_problem(&merchant.approve(&job, 4).await, 409, "wrong-count");

    // The gateway answers unknown routes without a function.
    assert_eq!(merchant.get("/nothing").await.status, 404);
    assert_eq!(merchant.post(&format!("/imports/{job}/explode"), "{}").await.status, 404);
    assert_eq!(merchant.stack.get(None, "/imports").await.status, 401);

    let answer = merchant.get(&format!("/imports/{job}")).await;
    assert!(answer.content_type.starts_with("application/json"), "{answer:?}");
    assert!(answer.request_id.is_some_and(|id| !id.is_empty()));
    assert_eq!(answer.body["links"]["self"], json!(format!("/imports/{job}")));
    assert_eq!(merchant.cancel(&job).await.status, 202);
    merchant.wait_for_rest().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let merchant = Merchant::new("lists").await;
    let other = Merchant::on(merchant.stack.clone(), "another list").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..5))).await;
    // Four more imports fail at once.
    for _ in 0..4 {
        let execution = merchant.start_execution(&json!({ "merchant_id": merchant.id })).await;
        merchant.wait_for_end(&execution).await;
    }
    let execution = other.start_execution(&json!({ "merchant_id": other.id })).await;
    other.wait_for_end(&execution).await;
    let all = merchant.imports(5).await;
    let newest_first: Vec<String> = all.iter().rev().map(id_of).collect();

    let list = |more: &str| format!("/imports?merchant_id={}{more}", merchant.id);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in [2, 2, 1] {
        let answer = merchant.get(&list(&format!("&limit=2{cursor}"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let imports = answer.body["imports"].as_array().expect("imports");
        assert_eq!(imports.len(), page);
        seen.extend(imports.iter().map(id_of));
        cursor = match answer.body["next"].as_str() {
            Some(next) => format!("&cursor={next}"),
            None => "over".to_owned(),
        };
    }
    assert_eq!((seen, cursor.as_str()), (newest_first.clone(), "over"));

    let found = async |path: &str| {
        let answer = merchant.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body["imports"].as_array().expect("imports").iter().map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(found(&list("&status=awaiting_approval")).await, std::slice::from_ref(&job));
    assert_eq!(found(&list("&status=failed")).await.len(), 4);
    let month = all[0]["created_at"].as_str().expect("a date")[..7].to_owned();
    // A month may end between the first and the last import.
    assert!(!found(&list(&format!("&month={month}"))).await.is_empty());
    assert!(found(&list("&month=2001-01")).await.is_empty());
    let user = &merchant.stack.file.users[0].user_id;
    assert!(found(&list(&format!("&created_by={user}"))).await.is_empty(), "uploads have no creator");
    // Without a merchant, the list has all of the caller's.
    let of_both = found("/imports?limit=100").await;
    assert!(of_both.contains(&job) && of_both.contains(&id_of(&other.imports(1).await[0])));

    let stack = &merchant.stack;
    assert_problem(&stack.get(Some(stack.token(1)), &list("")).await, 404, "not-found");
    assert_problem(&stack.get(Some(stack.token(1)), &list("&limit=bad")).await, 404, "not-found");
    let foreign = stack.get(Some(stack.token(1)), "/imports?limit=100").await;
    let foreign = foreign.body["imports"].as_array().cloned().unwrap_or_default();
    assert!(foreign.iter().all(|import| import["merchant_id"] != json!(merchant.id)));
    assert_problem(
        &merchant.get("/imports?merchant_id=0197a3c0-0000-7000-8000-0000000000ff").await,
        404,
        "not-found",
    );
    for (query, pointer) in [
        ("merchant_id=none", "/merchant_id"),
        ("status=done", "/status"),
        ("month=2026-13", "/month"),
        ("created_by=me", "/created_by"),
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=many", "/limit"),
        ("cursor=none", "/cursor"),
        ("colour=blue", "/colour"),
    ] {
        let answer = merchant.get(&format!("/imports?{query}")).await;
        assert_problem(&answer, 422, "invalid-request");
        assert_eq!(answer.body["errors"][0]["pointer"], json!(pointer), "{query}: {answer:?}");
    }
    let twice = merchant.get("/imports?status=failed&status=completed").await;
    assert_problem(&twice, 400, "bad-request");
    assert_problem(&merchant.get(&format!("/imports/{job}/files?limit=0")).await, 422, "invalid-request");
    assert_eq!(merchant.cancel(&job).await.status, 202);
    merchant.wait_for_rest().await;
    other.wait_for_rest().await;
}
