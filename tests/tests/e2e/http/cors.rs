//! CORS: pages of the configured origins may call the API, others may not.

use crate::stack::Stack;

/// The origin that `cargo xtask test` configures.
const ORIGIN: &str = "https://app.example.com";

#[tokio::test]
async fn a_preflight_allows_the_configured_origin_only() {
    let stack = Stack::connect().await;
    let ask = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,idempotency-key"),
        ];
        stack.send(None, "OPTIONS", "/imports/queue-processing", &headers, None).await
    };
    let allowed = ask(ORIGIN).await;
    assert!((200..300).contains(&allowed.status), "{allowed:?}");
    let header = |name: &str| allowed.headers.get(name).cloned().unwrap_or_default().to_lowercase();
    assert_eq!(header("access-control-allow-origin"), ORIGIN, "{allowed:?}");
    for method in ["get", "post", "delete"] {
        assert!(header("access-control-allow-methods").contains(method), "{allowed:?}");
    }
    for name in ["authorization", "content-type", "idempotency-key"] {
        assert!(header("access-control-allow-headers").contains(name), "{allowed:?}");
    }
    let foreign = ask("https://elsewhere.example.com").await;
    let named = foreign.headers.get("access-control-allow-origin");
    assert!(named.is_none_or(|origin| origin == ORIGIN), "{foreign:?}");
}

#[tokio::test]
async fn a_page_may_read_the_response_headers() {
    let stack = Stack::connect().await;
    let answer =
        stack.send(Some(stack.token(0)), "GET", "/imports?limit=1", &[("origin", ORIGIN)], None).await;
    assert_eq!(
        answer.headers.get("access-control-allow-origin").map(String::as_str),
        Some(ORIGIN),
        "{answer:?}"
    );
    let exposed = answer.headers.get("access-control-expose-headers").cloned().unwrap_or_default();
    for name in ["x-request-id", "location", "retry-after", "idempotent-replayed"] {
        assert!(exposed.to_lowercase().contains(name), "{exposed}");
    }
}
