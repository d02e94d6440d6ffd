//! HTTP answers: JSON, problem documents (RFC 9457), and who is calling.

use crate::db::users::{self, Claims};
use crate::db::{DbError, decisions::Actor, pool::client};
use crate::domain::ids::MerchantId;
use crate::domain::step::{StepError, StepErrorKind};
use crate::edge::app::App;
use crate::edge::serve::causes;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

/// What a handler returns.
pub type Answer = Result<Response<Body>, Problem>;

/// A problem document. Nothing internal is in it; the cause is logged.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// Last part of the `type` URI: `urn:onceload:problem:<name>`.
    pub name: &'static str,
    pub title: &'static str,
    pub detail: String,
    /// Further members of the document.
    pub members: Value,
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, name, title, detail: detail.into(), members: json!({}), retry_after: None }
    }

    /// 401: the authorizer lets no such request through; a misconfigured one must not open the door.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Unauthorized",
            "The request carries no valid token.",
        )
    }

    /// 404 for what doesn't exist and for what the caller may not see: the two can't be told apart.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Not found",
            "There is no such resource, or it is not yours.",
        )
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail)
    }

    /// 422: `pointer` is a JSON pointer to the field.
    pub fn unprocessable(pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "Invalid request", detail.clone());
        problem.members = json!({ "errors": [{ "pointer": pointer, "detail": detail }] });
        problem
    }

    pub fn conflict(name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, name, title, detail)
    }

    fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "Something went wrong on our side. The request id names the log entry.",
        )
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        tracing::error!(message = %error, causes = causes(&error), "request failed");
        if !error.is_transient() {
            return Self::internal();
        }
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            "The database is busy or out of reach. Try again in a moment.",
        );
        problem.retry_after = Some(2);
        problem
    }
}

impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        tracing::error!(message = %error, causes = causes(&error), "request failed");
        if error.kind != StepErrorKind::Transient {
            return Self::internal();
        }
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            "S3 is busy or out of reach. Try again in a moment.",
        );
        problem.retry_after = Some(2);
        problem
    }
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &impl Serialize) -> Answer {
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

/// The gateway's id of the request.
pub fn request_id(request: &Request) -> String {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone().unwrap_or_default(),
        _ => String::new(),
    }
}

/// The claims that the gateway's authorizer has checked.
pub fn claims(request: &Request) -> Result<Claims, Problem> {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Err(Problem::unauthorized());
    };
    let claims = context
        .authorizer
        .as_ref()
        .and_then(|authorizer| authorizer.jwt.as_ref())
        .map(|jwt| &jwt.claims)
        .ok_or_else(Problem::unauthorized)?;
    let subject = claims
        .get("sub")
        .filter(|subject| (1..=255).contains(&subject.len()))
        .ok_or_else(Problem::unauthorized)?;
    Ok(Claims {
        subject: subject.clone(),
        email: claims.get("email").cloned(),
        email_verified: claims.get("email_verified").is_some_and(|verified| verified == "true"),
    })
}

/// The caller and the merchants they belong to.
pub async fn actor(app: &App, request: &Request) -> Result<Actor, Problem> {
    let claims = claims(request)?;
    let connection = app.db.connection().await?;
    let user = users::upsert(client(&connection), &claims).await?;
    let merchants = users::merchants(client(&connection), user).await?;
    Ok(Actor { user, merchants })
}

/// The body as JSON: 400 where it is none, 422 with a pointer where it doesn't fit.
pub fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    typed(parsed(request)?)
}

/// The body of a request that names its merchant: 404 for a merchant that the caller does not belong to, before
/// anything else in it is looked at.
pub fn member_body<T: DeserializeOwned>(actor: &Actor, request: &Request) -> Result<T, Problem> {
    let value = parsed(request)?;
    let merchant = value.get("merchant_id").and_then(Value::as_str).and_then(|id| Uuid::try_parse(id).ok());
    if merchant.is_some_and(|id| !actor.merchants.contains(&MerchantId(id))) {
        return Err(Problem::not_found());
    }
    typed(value)
}

fn parsed(request: &Request) -> Result<Value, Problem> {
    let bytes: &[u8] = request.body();
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("The body is not JSON: {error}.")))
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    // Members by name: serde would also take them in order from an array.
    if !value.is_object() {
        return Err(Problem::unprocessable("", "The body is not an object."));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let pointer = if path == "." { String::new() } else { format!("/{}", path.replace('.', "/")) };
        Problem::unprocessable(&pointer, error.inner().to_string())
    })
}
