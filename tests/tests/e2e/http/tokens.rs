//! The API accepts only valid tokens of its issuer and audience; no header replaces one.

use crate::issuer::{Pool, claims};
use crate::stack::{Answer, Stack, until};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onceload_tests::db::value;
use serde_json::json;
use uuid::Uuid;

/// Asserts the gateway's 401, which is no problem document (see docs/openapi.yaml).
fn assert_unauthorized(answer: &Answer, what: &str) {
    assert_eq!(
        (answer.status, &answer.body),
        (401, &json!({ "message": "Unauthorized" })),
        "{what}: {answer:?}"
    );
    assert!(answer.headers.contains_key("apigw-requestid"), "{what}: {answer:?}");
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let stack = Stack::connect().await;
    let good = stack.token(0).to_owned();
    assert_eq!(stack.get(Some(&good), "/imports?limit=1").await.status, 200);
    let parts: Vec<&str> = good.split('.').collect();
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut other = claims(&good);
    other["sub"] = json!(Uuid::now_v7());
    let mut eternal = claims(&good);
    eternal["exp"] = json!(4_102_444_800_u64);
    let unsigned = encoded(&json!({ "alg": "none", "typ": "JWT" }));
    let tampered = if parts[2].starts_with('A') { "B" } else { "A" }.to_owned() + &parts[2][1..];
    for (what, token) in [
        ("another user's name", format!("{}.{}.{}", parts[0], encoded(&other), parts[2])),
        ("another end", format!("{}.{}.{}", parts[0], encoded(&eternal), parts[2])),
        ("another signature", format!("{}.{}.{tampered}", parts[0], parts[1])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("no algorithm", format!("{unsigned}.{}.", parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("a word", "anonymous".to_owned()),
        ("nothing", String::new()),
    ] {
        assert_unauthorized(&stack.get(Some(&token), "/imports?limit=1").await, what);
    }
    assert_unauthorized(&stack.get(None, "/imports").await, "no header");
    // Headers that a careless handler might trust.
    for header in [
        ("x-user-id", stack.file.users[0].user_id.as_str()),
        ("x-debug", "true"),
        ("x-skip-auth", "true"),
        ("x-amzn-request-context", r#"{"authorizer":{"jwt":{"claims":{"sub":"x"}}}}"#),
        ("x-authorization", &format!("Bearer {good}")),
        ("cookie", &format!("token={good}")),
    ] {
        assert_unauthorized(&stack.send(None, "GET", "/imports?limit=1", &[header], None).await, header.0);
    }
    assert_unauthorized(
        &stack.get(None, &format!("/imports?token={good}&access_token={good}")).await,
        "a query",
    );
}

#[tokio::test]
async fn tokens_of_another_audience_or_issuer_are_refused() {
    let stack = Stack::connect().await;
    let email = format!("{}@example.com", Uuid::now_v7());
    let pool = Pool::trusted(&stack);
    pool.add_user(&email, true).await;
    let token = pool.issue_token(&email).await;
    let answer = stack.get(Some(&token), "/imports").await;
    assert_eq!((answer.status, &answer.body["imports"]), (200, &json!([])), "a new user: {answer:?}");
    let client = pool.add_client().await;
    let token = pool.sign_in(&client, &email).await;
    assert_ne!(claims(&token)["aud"], claims(stack.token(0))["aud"]);
    assert_unauthorized(&stack.get(Some(&token), "/imports").await, "another audience");

    let foreign = Pool::foreign(&stack).await;
    foreign.add_user(&email, true).await;
    let client = foreign.add_client().await;
    let token = foreign.sign_in(&client, &email).await;
    assert_ne!(claims(&token)["iss"], claims(stack.token(0))["iss"]);
    assert_unauthorized(&stack.get(Some(&token), "/imports").await, "another issuer");
}

/// Cognito's access tokens come from the same issuer for the same client, and a gateway takes them. They are no ID tokens.
#[tokio::test]
async fn an_access_token_is_refused() {
    let stack = Stack::connect().await;
    let email = format!("{}@example.com", Uuid::now_v7());
    let pool = Pool::trusted(&stack);
    pool.add_user(&email, true).await;
    let token = pool.issue_access_token(&email).await;
    assert_eq!(claims(&token)["token_use"], "access");
    assert_eq!(stack.get(Some(&token), "/imports").await.status, 401);
    let subject = claims(&token)["sub"].as_str().expect("sub").to_owned();
    let user = format!("SELECT count(*) FROM onceload.users WHERE subject = '{subject}'");
    assert_eq!(value(&stack.database().await, &user).await, "0");
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let stack = Stack::connect().await;
    let email = format!("{}@example.com", Uuid::now_v7());
    let pool = Pool::trusted(&stack);
    pool.add_user(&email, true).await;
    let token = pool.issue_short_lived_token(&email).await;
    assert_eq!(claims(&token)["aud"], claims(stack.token(0))["aud"], "the right audience");
    let answer = until("the end of the token", async || {
        let answer = stack.get(Some(&token), "/imports").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_unauthorized(&answer, "a token that is over");
}
