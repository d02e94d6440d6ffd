//! Requests to the HTTP functions as the API gateway passes them, with its authorizer's claims, and the responses.

use lambda_http::{Body, Request};
use serde_json::{Value, json};
use shared::http::{Answer, render};

/// A function's response as a client receives it.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// `Null` unless the body is JSON.
    pub body: Value,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The status of a problem document and the pointer of its first error.
    pub fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        (self.status, self.body["errors"][0]["pointer"].as_str().unwrap_or("-"))
    }
}

/// A request of the user whose token has this `sub`; `None` means that the request carries no token.
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

/// Adds an `Idempotency-Key`.
pub fn with_key(mut request: Request, key: &str) -> Request {
    let key = key.parse().expect("a header's value");
    request.headers_mut().insert("idempotency-key", key);
    request
}

/// Renders a function's answer as the client receives it.
pub fn receive(answer: Answer) -> Response {
    let response: lambda_http::Response<Body> = render(answer, "request-of-a-test");
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let bytes: &[u8] = response.body();
    Response {
        status: response.status().as_u16(),
        headers,
        body: serde_json::from_slice(bytes).unwrap_or_default(),
    }
}
