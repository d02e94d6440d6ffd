//! Requests to `queue-processing` and what their responses say.

use lambda_http::Request;
use onceload_tests::World;
use onceload_tests::db::TestDb;
use onceload_tests::fixture::subject;
use onceload_tests::http::{Response, receive, request};
use serde_json::{Value, json};
use shared::domain::actor::Actor;
use shared::domain::ids::{JobId, MerchantId};
use shared::lambda::App;

pub(super) const PATH: &str = "/imports/queue-processing";

pub(super) fn post(actor: &Actor, merchant: MerchantId, files: &[&str]) -> Request {
    let body = json!({ "merchant_id": merchant, "files": files });
    request("POST", PATH, Some(&subject(actor)), &body.to_string())
}

pub(super) async fn send(app: &App, request: Request) -> Response {
    receive(queue_processing::handle(app.clone(), request).await)
}

pub(super) async fn start(world: &World, files: &[&str]) -> Response {
    send(&world.app, post(&world.actor, world.merchant, files)).await
}

pub(super) async fn read_status(world: &World) -> Value {
    let response = send(&world.app, request("GET", PATH, Some(&subject(&world.actor)), "")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.body
}

pub(super) fn expect_job(response: &Response) -> JobId {
    assert_eq!(response.status, 202, "{response:?}");
    serde_json::from_value(response.body["jobId"].clone()).expect("jobId")
}

/// Asserts the 409 that names this job.
pub(super) fn assert_held(response: &Response, by: JobId) {
    assert_eq!(response.status, 409, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.body["error"], "Import already in progress. Please wait for it to complete.");
    assert_eq!(response.body["status"], "processing");
    assert_eq!(response.body["jobId"], json!(by));
    assert_eq!(response.body["statusUrl"], format!("/imports/{by}"));
    assert!(
        response.body["elapsedMinutes"].is_u64() && response.body["startedAt"].is_string(),
        "{response:?}"
    );
    let retry: u64 = response.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((2..=60).contains(&retry), "{retry}");
}

/// Asserts the 409 of files that wait for a person's approval.
pub(super) fn assert_waits_for_approval(response: &Response, job: JobId) {
    assert_eq!(
        (response.status, response.header("content-type")),
        (409, Some("application/json")),
        "{response:?}"
    );
    assert_eq!(
        response.body,
        json!({ "error": "These files wait for approval.", "status": "awaiting_approval", "jobId": job,
                "statusUrl": format!("/imports/{job}") })
    );
    assert_eq!(response.header("retry-after"), None, "asking again can't help");
}

/// The user's row of `user_profiles`.
pub(super) async fn read_profile(db: &TestDb, actor: &Actor) -> Value {
    let sql = format!("SELECT to_jsonb(p) FROM onceload.user_profiles p WHERE user_id = '{}'", actor.user);
    serde_json::from_str(&db.value(&sql).await).expect("a profile")
}
