//! HTTP answers: JSON, problem documents (RFC 9457), and who is calling.

use crate::db::idempotency::{Keyed, Stored};
use crate::db::users::{self, Claims};
use crate::db::{DbError, decisions::Actor};
use crate::domain::community::Remark;
use crate::domain::ids::MerchantId;
use crate::domain::source::SourceError;
use crate::domain::step::{StepError, StepErrorKind};
use crate::edge::app::App;
use crate::edge::once::keyed;
use crate::edge::serve::causes;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::{Path, Segment};
use std::ops::Deref;
use uuid::Uuid;

/// What a handler returns.
pub type Answer = Result<Response<Body>, Problem>;

/// A problem document. Nothing internal is in it; the cause is logged.
#[derive(Debug, Clone)]
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

    /// 422 for everything that is wrong with a request, at once.
    pub fn invalid(remarks: &[Remark]) -> Self {
        let detail = match remarks {
            [] | [_] => remarks.iter().map(|remark| remark.detail.clone()).collect(),
            _ => format!("{} fields are wrong; `errors` names them.", remarks.len()),
        };
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "Invalid request", detail);
        problem.members = json!({ "errors": remarks });
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

/// 503 for what will very likely work the next time.
pub fn try_again() -> Problem {
    let mut problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "Temporarily unavailable",
        "The database or storage is busy or out of reach. Try again in a moment.",
    );
    problem.retry_after = Some(2);
    problem
}

/// Bad requests name their field.
impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        Self::unprocessable(&error.pointer(), format!("{error}."))
    }
}

/// Of S3 and of steps that HTTP functions share with the state machine.
impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        tracing::error!(message = %error, causes = causes(&error), "request failed");
        match error.kind {
            StepErrorKind::Transient => try_again(),
            _ => Self::internal(),
        }
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        tracing::error!(message = %error, causes = causes(&error), "request failed");
        if !error.is_transient() {
            return Self::internal();
        }
        try_again()
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

/// Who is calling, and what `once` needs to know of their request.
#[derive(Debug)]
pub struct Caller {
    actor: Actor,
    /// The request's key. What is wrong with it is said by `once`, after what is wrong with the request itself.
    pub(super) keyed: Result<Option<Keyed>, Problem>,
    /// The stored answer, if they have asked the very same before.
    pub(super) answered: Option<Stored>,
}

impl Deref for Caller {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}

/// Who is calling, the merchants they belong to, and the stored answer if they have asked the very same before.
pub async fn caller(app: &App, request: &Request) -> Result<Caller, Problem> {
    let claims = claims(request)?;
    let keyed = keyed(request);
    let (actor, answered) =
        users::caller(&app.db, &claims, keyed.as_ref().ok().and_then(Option::as_ref)).await?;
    Ok(Caller { actor, keyed, answered })
}

/// The body as JSON: 400 where it is none, 422 with a pointer where it doesn't fit.
pub fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    fit(object(request)?)
}

/// The body of a request about a merchant, its member `merchant_id`. 404 unless the caller belongs to it, before
/// anything else is said about the request.
pub fn body_of_member<T: DeserializeOwned>(request: &Request, actor: &Actor) -> Result<T, Problem> {
    let members = object(request)?;
    let merchant = members.get("merchant_id").and_then(Value::as_str);
    let merchant = merchant.and_then(|id| Uuid::try_parse(id).ok()).map(MerchantId);
    if merchant.is_some_and(|merchant| !actor.merchants.contains(&merchant)) {
        return Err(Problem::not_found());
    }
    fit(members)
}

/// The body's members by name: serde would also take them in order from an array.
fn object(request: &Request) -> Result<Map<String, Value>, Problem> {
    let bytes: &[u8] = request.body();
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("The body is not JSON: {error}.")))?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Problem::unprocessable("", "The body is not a JSON object.")),
    }
}

fn fit<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(members))
        .map_err(|error| Problem::unprocessable(&pointer(error.path()), error.inner().to_string()))
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Unknown => "?".to_owned(),
    };
    path.iter().map(|segment| format!("/{}", part(segment).replace('~', "~0").replace('/', "~1"))).collect()
}
