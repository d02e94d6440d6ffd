//! Problem documents (RFC 9457): what a request was refused for.

use crate::db::{DbError, outage};
use crate::domain::remark::{Remark, shorten};
use crate::domain::source::SourceError;
use crate::domain::step::{StepError, StepErrorKind, list_causes};
use lambda_http::http::StatusCode;
use serde_json::{Value, json};

/// The longest `detail` and `pointer`, which may repeat the request.
const MAX_DETAIL_BYTES: usize = 2048;
/// How many members of a request one problem names.
const SHOWN_REMARKS: usize = 100;

/// A problem document. Nothing internal is in it; the cause is logged.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The status of HTTP.
    pub status: StatusCode,
    /// Last part of the `type` URI: `urn:onceload:problem:<name>`.
    pub name: &'static str,
    /// A summary that is the same for every problem of this type.
    pub title: &'static str,
    /// What happened, and what to do.
    pub detail: String,
    /// Further members of the document.
    pub members: Value,
    /// After how many seconds the same request makes sense again.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem without further members.
    pub fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let detail = shorten(&detail.into(), MAX_DETAIL_BYTES).into_owned();
        Self { status, name, title, detail, members: json!({}), retry_after: None }
    }

    /// 401: the authorizer lets no such request through; a misconfigured one must not open the door.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Unauthorized",
            "The request carries no valid ID token.",
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

    /// 400: the request can't be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail)
    }

    /// 422: `pointer` is a JSON pointer to the field.
    pub fn unprocessable(pointer: &str, detail: impl Into<String>) -> Self {
        Self::invalid(&[Remark::new(pointer, detail)])
    }

    /// 422 for what is wrong with a request, at once: of very much the first.
    pub fn invalid(remarks: &[Remark]) -> Self {
        let shown = &remarks[..remarks.len().min(SHOWN_REMARKS)];
        let detail = match remarks {
            [] | [_] => remarks.iter().map(|remark| remark.detail.clone()).collect(),
            _ if shown.len() < remarks.len() => {
                format!("{} fields are wrong; `errors` names the first {SHOWN_REMARKS}.", remarks.len())
            }
            _ => format!("{} fields are wrong; `errors` names them.", remarks.len()),
        };
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "Invalid request", detail);
        let errors = shown.iter().map(|Remark { pointer, detail }| {
            json!({ "pointer": shorten(pointer, MAX_DETAIL_BYTES), "detail": shorten(detail, MAX_DETAIL_BYTES) })
        });
        problem.members = json!({ "errors": errors.collect::<Value>() });
        problem
    }

    /// 409: the state of things does not allow it.
    pub fn conflict(name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, name, title, detail)
    }

    /// 503 for what will very likely work the next time.
    pub fn unavailable() -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            "The database or storage is busy or out of reach. Try again in a moment.",
        );
        problem.retry_after = Some(2);
        problem
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "Something went wrong on our side. The request id names the log entry.",
        )
    }
}

/// Bad requests name their field.
impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        Self::unprocessable(&error.pointer(), format!("{error}."))
    }
}

/// Errors of S3, and of steps that HTTP functions share with the state machine.
impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        match DbError::of_step(&error).filter(|cause| cause.is_outage()) {
            Some(cause) => outage::note(cause),
            None => tracing::error!(message = %error, causes = list_causes(&error), "request failed"),
        }
        match error.kind {
            StepErrorKind::Transient => Self::unavailable(),
            _ => Self::internal(),
        }
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        if error.is_outage() {
            outage::note(&error);
            return Self::unavailable();
        }
        tracing::error!(message = %error, causes = list_causes(&error), "request failed");
        if error.is_transient() { Self::unavailable() } else { Self::internal() }
    }
}
