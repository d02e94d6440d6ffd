//! Answers: JSON, and rendering what a handler returns.

use super::problem::Problem;
use crate::domain::ids::JobId;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use lambda_http::{Body, Response};
use serde::Serialize;
use serde_json::json;

/// What a handler returns.
pub type Answer = Result<Response<Body>, Problem>;

/// A JSON answer.
pub fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_string(body).map_err(|error| {
        tracing::error!(%error, "answer is not JSON");
        Problem::internal()
    })?;
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Renders an answer or a problem; every one carries the request's id.
pub fn render(answer: Answer, request_id: &str) -> Response<Body> {
    let mut response = answer.unwrap_or_else(|problem| problem_response(&problem, request_id));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

fn problem_response(problem: &Problem, request_id: &str) -> Response<Body> {
    let mut document = json!({
        "type": format!("urn:onceload:problem:{}", problem.name),
        "title": problem.title,
        "status": problem.status.as_u16(),
        "detail": problem.detail,
        "instance": format!("urn:onceload:request:{request_id}"),
    });
    if let (Some(document), Some(members)) = (document.as_object_mut(), problem.members.as_object()) {
        document.extend(members.clone());
    }
    let mut response = Response::new(Body::Text(document.to_string()));
    *response.status_mut() = problem.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Where an import's state can be read.
pub fn status_url(job: JobId) -> String {
    format!("/imports/{job}")
}
