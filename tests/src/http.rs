//! Requests to the HTTP functions as the gateway hands them over, its authorizer's claims included.

use lambda_http::{Body, Request, Response};
use serde_json::{Value, json};
use shared::edge::http::{Answer, render};

/// What the function said, as a client sees it.
#[derive(Debug, Clone)]
pub struct Said {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// `Null` if it was no JSON.
    pub body: Value,
}

impl Said {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The status of a problem document, and the pointer of its first error.
    pub fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        (self.status, self.body["errors"][0]["pointer"].as_str().unwrap_or("-"))
    }
}

/// A request of the user whose token has this `sub`; `None`: the authorizer let it through without one.
pub fn request(method: &str, path: &str, subject: Option<&str>, body: &str) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let authorizer = subject.map(|subject| {
        json!({ "jwt": { "claims": { "sub": subject, "email": "someone@example.com", "email_verified": "true" },
                         "scopes": [] } })
    });
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
        "headers": { "content-type": "application/json", "host": "api.test" },
        "requestContext": {
            "accountId": "0", "apiId": "api", "domainName": "api.test", "domainPrefix": "api",
            "authorizer": authorizer,
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test" },
            "requestId": "request-of-a-test", "routeKey": "$default", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_i64
        },
        "body": body, "isBase64Encoded": false
    });
    lambda_http::request::from_str(&event.to_string()).expect("an event of the gateway")
}

/// The same with an `Idempotency-Key`.
pub fn with_key(mut request: Request, key: &str) -> Request {
    let key = key.parse().expect("a header's value");
    request.headers_mut().insert("idempotency-key", key);
    request
}

/// What a client sees of an answer.
pub fn said(answer: Answer) -> Said {
    let response: Response<Body> = render(answer, "request-of-a-test");
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let bytes: &[u8] = response.body();
    Said {
        status: response.status().as_u16(),
        headers,
        body: serde_json::from_slice(bytes).unwrap_or_default(),
    }
}
