//! Requests to the community functions.

use crate::http::{Response, receive, request, with_key};
use serde_json::Value;
use shared::lambda::App;

/// A POST of the user with this `sub`.
pub async fn post(app: &App, subject: &str, path: &str, key: Option<&str>, body: &str) -> Response {
    let request = request("POST", path, Some(subject), body);
    let request = match key {
        Some(key) => with_key(request, key),
        None => request,
    };
    let app = app.clone();
    receive(match path {
        "/communities" => create_community::handle(app, request).await,
        _ => join_community::handle(app, request).await,
    })
}

pub async fn create(app: &App, subject: &str, key: Option<&str>, body: &Value) -> Response {
    post(app, subject, "/communities", key, &body.to_string()).await
}
