//! Every route refuses bad requests in the order of its checks: 401, 404, 400, 422, a used key, a key in use. After the
//! run, the responses are compared with the documentation.

use crate::blocker::Blocker;
use crate::csv;
use crate::merchant::Merchant;
use crate::stack::Answer;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

struct Route {
    method: &'static str,
    path: String,
    /// A valid body; `None` if the route accepts any body.
    body: Option<Value>,
    /// Whether the route accepts an Idempotency-Key.
    keyed: bool,
}

/// All routes that change something, for existing resources.
async fn mutating_routes(merchant: &Merchant) -> Vec<Route> {
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..5))).await;
    let key = merchant.key("uploads", "a.csv");
    merchant.put(&key, csv::file(&csv::codes("A", 0..5))).await;
    let community = merchant.post("/communities", json!({ "name": "Refusals" })).await;
    let community = community.body["community_id"].as_str().expect("a community").to_owned();
    let declared = json!({ "merchant_id": merchant.id, "name": "a.csv", "size": 10 });
    let upload = merchant.post("/uploads", &declared).await;
    let upload = upload.body["upload_id"].as_str().expect("an upload").to_owned();
    let files = json!({ "merchant_id": merchant.id, "files": [key] });
    let migration = json!({ "merchant_id": merchant.id, "file": key, "mapping": { "code": "code" } });
    let mend = json!({ "action": "replace", "key": key });
    let import = |verb: &str| format!("/imports/{job}/{verb}");
    let route = |method, path: &str, body, keyed| Route { method, path: path.to_owned(), body, keyed };
    // Most of these are refused before the state of the import matters.
    vec![
        route("POST", "/communities", Some(json!({ "name": "Refusals" })), true),
        route("POST", &format!("/communities/{community}/join"), Some(json!({})), true),
        route("POST", "/imports/queue-processing", Some(files), true),
        route("POST", "/migrations/run", Some(migration), true),
        route("POST", "/uploads", Some(declared), false),
        route("POST", &format!("/uploads/{upload}/complete"), Some(json!({})), false),
        route("POST", &import("approve"), Some(json!({ "confirm": "YES", "clean_count": 5 })), true),
        route("POST", &import("files/1"), Some(mend), true),
        route("POST", &import("cancel"), None, true),
        route("POST", &import("retry"), None, true),
        route("POST", &import("rollback"), Some(json!({ "confirm": "DELETE" })), true),
        route("POST", &import("verify"), None, true),
        route("POST", &import("exports"), Some(json!({ "kind": "report" })), true),
        route("DELETE", &import("staging"), Some(json!({ "confirm": "CLEAR" })), false),
    ]
}

fn assert_problem(answer: &Answer, status: u16, name: &str, what: &str) {
    let expected = json!(format!("urn:onceload:problem:{name}"));
    assert_eq!((answer.status, &answer.body["type"]), (status, &expected), "{what}: {answer:?}");
}

#[tokio::test]
async fn every_route_refuses_in_the_documented_order() {
    let merchant = Merchant::new("refusals").await;
    let stack = &merchant.stack;
    let token = stack.token(0);
    let strange = Uuid::now_v7();
    for Route { method, path, body, keyed } in mutating_routes(&merchant).await {
        let what = format!("{method} {path}");
        let text = body.as_ref().map_or("{}".to_owned(), Value::to_string);
        let send = async |path: &str, headers: &[(&str, &str)], body: &str| {
            stack.send(Some(token), method, path, headers, Some(body.to_owned())).await
        };

        let nobody = stack.send(None, method, &path, &[], Some(text.clone())).await;
        assert_eq!(nobody.status, 401, "{what}: {nobody:?}");

        // A foreign or unknown id is reported before anything else.
        let segments: Vec<&str> = path.split('/').collect();
        if let [_, first, id, rest @ ..] = &segments[..]
            && Uuid::try_parse(id).is_ok()
        {
            let elsewhere = format!("/{first}/{strange}/{}", rest.join("/"));
            assert_problem(&send(&elsewhere, &[], "{").await, 404, "not-found", &elsewhere);
        }
        if let Some(mut body) = body.clone().filter(|body| body["merchant_id"].is_string()) {
            body["merchant_id"] = json!(strange);
            body["colour"] = json!("blue");
            assert_problem(&send(&path, &[], &body.to_string()).await, 404, "not-found", &what);
        }

        if let Some(mut body) = body {
            assert_problem(&send(&path, &[], "{\"a\"").await, 400, "bad-request", &what);
            body["colour"] = json!("blue");
            assert_problem(&send(&path, &[], &body.to_string()).await, 422, "invalid-request", &what);
            assert_problem(&send(&path, &[], "[]").await, 422, "invalid-request", &what);
        }
        if keyed {
            for key in ["k".repeat(256), "\"open".to_owned(), String::new()] {
                assert_problem(
                    &send(&path, &[("idempotency-key", &key)], &text).await,
                    400,
                    "bad-request",
                    &what,
                );
            }
            let used = format!("used-{}", Uuid::now_v7());
            merchant.db.batch_execute(&insert_used_key(&merchant, &used)).await.expect("a used key");
            let answer = send(&path, &[("idempotency-key", &used)], &text).await;
            assert_problem(&answer, 422, "idempotency-key-reused", &what);
        }
    }
    for path in ["", "/files", "/exports"] {
        let answer = merchant.get(&format!("/imports/{strange}{path}")).await;
        assert_problem(&answer, 404, "not-found", path);
        assert_eq!(stack.get(None, &format!("/imports/{strange}{path}")).await.status, 401);
    }
    assert_eq!(stack.get(None, "/imports/queue-processing").await.status, 401);
}

/// The statement that inserts a key as the first demo user's, used for another request.
fn insert_used_key(merchant: &Merchant, key: &str) -> String {
    let user = &merchant.stack.file.users[0].user_id;
    format!(
        "INSERT INTO onceload.idempotency_keys (user_id, key, fingerprint, response_status, response_headers, response_body)
         VALUES ('{user}', '{key}', decode(repeat('00', 32), 'hex'), 200, '[]', '')"
    )
}

#[tokio::test]
async fn a_key_in_use_answers_409() {
    let merchant = Merchant::new("keys at work").await;
    let key = format!("at-work-{}", Uuid::now_v7());
    let first = Blocker::hold(&merchant.stack, &insert_used_key(&merchant, &key)).await;
    let answers = join_all(mutating_routes(&merchant).await.into_iter().filter(|route| route.keyed).map(
        async |route| {
            let body = route.body.as_ref().map(Value::to_string);
            let headers = [("idempotency-key", key.as_str())];
            let stack = &merchant.stack;
            (
                stack
                    .send(Some(stack.token(0)), "POST", &route.path, &headers, body.or(Some(String::new())))
                    .await,
                route.path,
            )
        },
    ))
    .await;
    first.release().await;
    for (answer, path) in answers {
        assert_problem(&answer, 409, "request-in-progress", &path);
        assert!(answer.retry_after.is_some(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_caller_without_a_verified_email_creates_no_community() {
    let merchant = Merchant::new("not verified").await;
    let token = merchant.unverified().await;
    let answer = merchant.stack.post(Some(&token), "/communities", json!({ "name": "Not Verified" })).await;
    assert_problem(&answer, 403, "email-not-verified", "POST /communities");
}
