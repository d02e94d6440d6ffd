//! Communities over HTTP: created once per key, joined once per user, and replays counted.

use crate::stack::{Answer, Stack, until};
use onceload_tests::concurrency::all_at_once;
use onceload_tests::db::value;
use serde_json::{Value, json};
use uuid::Uuid;

/// A unique name that is its own slug.
fn unique_name() -> String {
    format!("club-{}", Uuid::now_v7().simple())
}

async fn count_communities(stack: &Stack, name: &str) -> String {
    value(
        &stack.database().await,
        &format!("SELECT count(*) FROM onceload.communities WHERE name = '{name}'"),
    )
    .await
}

#[tokio::test]
async fn a_community_created_twice_with_one_key_exists_once() {
    let stack = Stack::connect().await;
    let (name, key) = (unique_name(), Uuid::now_v7().to_string());
    let body =
        json!({ "name": name, "tags": ["beans", "x".repeat(60)], "images": ["https://img.example/a.png"] });
    let post = async |key: &str, body: &Value| -> Answer {
        stack.post_with_key(stack.token(0), "/communities", key, body).await
    };
    let first = post(&key, &body).await;
    assert_eq!((first.status, first.replayed()), (201, false), "{first:?}");
    assert_eq!(first.body["unique_url"], json!(name));
    assert_eq!(first.body["owner_id"], json!(stack.file.users[0].user_id));
    assert_eq!(
        (&first.body["tags"], &first.body["warnings"][0]["pointer"]),
        (&json!(["beans"]), &json!("/tags/1"))
    );
    let id = first.body["community_id"].as_str().expect("an id");
    assert_eq!(first.headers["location"], format!("/communities/{id}"));

    let second = post(&format!("\"{key}\""), &body).await;
    assert_eq!((second.status, second.replayed(), &second.body), (201, true, &first.body));
    assert_eq!(second.headers["location"], first.headers["location"]);
    assert_ne!(second.request_id, first.request_id, "each request has an id of its own");
    assert_eq!(count_communities(&stack, &name).await, "1");

    let other = post(&key, &json!({ "name": name })).await;
    assert_eq!(
        (other.status, &other.body["type"]),
        (422, &json!("urn:onceload:problem:idempotency-key-reused"))
    );
    let another = post(&Uuid::now_v7().to_string(), &body).await;
    assert_eq!((another.status, &another.body["unique_url"]), (201, &json!(format!("{name}-1"))));
    assert_eq!(post(&"k".repeat(256), &body).await.status, 400);
    assert_eq!(stack.post(None, "/communities", &body).await.status, 401);
    let wrong = stack.post(Some(stack.token(0)), "/communities", json!({ "tags": 1, "x": 1 })).await;
    assert_eq!((wrong.status, wrong.body["errors"].as_array().map(Vec::len)), (422, Some(3)), "{wrong:?}");

    // The function's log has the line from which CloudWatch makes the metric.
    let log = stack.directory.join("logs/functions/create-community.log");
    let counted = until("a replay is counted", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["IdempotentReplays"] == 1)
    })
    .await;
    assert_eq!(counted["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Onceload");
    assert!(
        counted["FunctionName"].as_str().is_some_and(|name| name.contains("CreateCommunity")),
        "{counted}"
    );
}

#[tokio::test]
async fn concurrent_requests_with_one_key_create_one_community() {
    let stack = Stack::connect().await;
    let (name, key) = (unique_name(), Uuid::now_v7().to_string());
    let calls = (0..6).map(|_| {
        let (stack, key, body) = (stack.clone(), key.clone(), json!({ "name": name }));
        async move { stack.post_with_key(stack.token(1), "/communities", &key, body).await }
    });
    let answers = all_at_once(calls).await;
    assert!(
        answers.iter().all(|answer| answer.status == 201 && answer.body == answers[0].body),
        "{answers:?}"
    );
    assert_eq!(answers.iter().filter(|answer| answer.replayed()).count(), 5, "{answers:?}");
    assert_eq!(count_communities(&stack, &name).await, "1");
}

#[tokio::test]
async fn a_user_joins_a_community_once() {
    let stack = Stack::connect().await;
    let (owner, guest) = (stack.token(0), stack.token(1));
    let made = stack.post(Some(owner), "/communities", json!({ "name": unique_name() })).await;
    let id = made.body["community_id"].as_str().expect("an id");
    let (path, key) = (format!("/communities/{id}/join"), Uuid::now_v7().to_string());
    let joined = stack.post_with_key(guest, &path, &key, "").await;
    assert_eq!((joined.status, &joined.body["role"]), (201, &json!("member")), "{joined:?}");
    assert_eq!(joined.body["user_id"], json!(stack.file.users[1].user_id));
    let replayed = stack.post_with_key(guest, &path, &key, "").await;
    assert_eq!((replayed.status, replayed.replayed(), &replayed.body), (201, true, &joined.body));
    let again = stack.post(Some(guest), &path, "").await;
    assert_eq!((again.status, &again.body), (200, &joined.body));
    assert_eq!(stack.post(Some(owner), &path, "").await.body["role"], json!("owner"));
    let unknown = format!("/communities/{}/join", Uuid::now_v7());
    assert_eq!(stack.post(Some(guest), &unknown, "").await.status, 404);
    assert_eq!(stack.post(Some(guest), &path, "[]").await.status, 422);
}
