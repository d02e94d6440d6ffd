//! The input of an execution: an upload's event, a request by hand, or a job that we started.

use serde::Deserialize;
use shared::domain::ids::JobId;
use shared::domain::json::find_nul;
use shared::domain::source::StartRequest;
use shared::domain::step::StepError;
use thiserror::Error;

/// An S3 object as the event names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadedObject {
    /// The bucket that the event is about.
    pub bucket: String,
    /// The key of the object.
    pub key: String,
    /// What makes this upload different from a later one under the same key:
    /// the version id, or where the bucket has no versions the sequencer.
    pub version: String,
    /// The version, in a bucket with versions.
    pub version_id: Option<String>,
}

/// The input of an execution of the state machine `import`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExecutionInput {
    /// EventBridge reports that an object was created.
    Upload(UploadedObject),
    /// `start-execution` by hand.
    Request(StartRequest),
    /// We started it: HTTP, or a retry.
    Job {
        /// The job.
        job: JobId,
        /// The attempt that the execution works for.
        attempt: i32,
    },
}

/// Why an execution's input can't be understood.
#[derive(Debug, Error)]
pub(crate) enum InputError {
    /// It is none of the three.
    #[error(
        "the input is neither an S3 event nor a request nor a job: expected an object with `merchant_id` and `files` or `prefix`"
    )]
    Unknown,
    /// The event lacks a member.
    #[error("the S3 event has no `{0}`")]
    Event(&'static str),
    /// It holds a character that PostgreSQL can't store.
    #[error("`{0}`: it holds the character U+0000, which can't be stored")]
    Nul(String),
    /// A member is wrong.
    #[error("`{path}`: {message}")]
    Field {
        /// Where it is.
        path: String,
        /// What is wrong.
        message: String,
    },
}

impl From<InputError> for StepError {
    fn from(error: InputError) -> Self {
        Self::invalid(error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobInput {
    job_id: JobId,
    attempt: i32,
}

impl ExecutionInput {
    /// Reads the input of an execution.
    pub(crate) fn parse(input: &serde_json::Value) -> Result<Self, InputError> {
        let object = input.as_object().ok_or(InputError::Unknown)?;
        if object.contains_key("detail-type") || object.contains_key("detail") {
            return upload(input).map(Self::Upload);
        }
        if let Some(pointer) = find_nul(input) {
            return Err(InputError::Nul(pointer));
        }
        if object.contains_key("job_id") {
            let JobInput { job_id, attempt } = read(input)?;
            return Ok(Self::Job { job: job_id, attempt });
        }
        if object.contains_key("merchant_id") {
            return read(input).map(Self::Request);
        }
        Err(InputError::Unknown)
    }
}

/// Reads members by their names; an error says which one is wrong.
pub(crate) fn read<'a, T: Deserialize<'a>>(input: &'a serde_json::Value) -> Result<T, InputError> {
    serde_path_to_error::deserialize(input).map_err(|error| InputError::Field {
        path: error.path().to_string(),
        message: error.inner().to_string(),
    })
}

fn upload(input: &serde_json::Value) -> Result<UploadedObject, InputError> {
    let text =
        |pointer: &'static str| input.pointer(pointer).and_then(|v| v.as_str()).filter(|s| !s.is_empty());
    let bucket = text("/detail/bucket/name").ok_or(InputError::Event("detail.bucket.name"))?;
    let key = text("/detail/object/key").ok_or(InputError::Event("detail.object.key"))?;
    let version_id = text("/detail/object/version-id");
    let version = version_id
        .or_else(|| text("/detail/object/sequencer"))
        .or_else(|| text("/detail/object/etag"))
        .ok_or(InputError::Event("detail.object.version-id"))?;
    Ok(UploadedObject {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version: version.to_owned(),
        version_id: version_id.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const M: &str = "11112222-3333-4444-5555-666677778888";

    #[test]
    fn reads_every_kind_of_input() {
        let event = json!({"detail-type": "Object Created", "detail": {"bucket": {"name": "b"},
            "object": {"key": "import/x/a.csv", "version-id": "v1", "sequencer": "00"}}});
        assert!(matches!(ExecutionInput::parse(&event), Ok(ExecutionInput::Upload(o)) if o.version == "v1"));
        let request = json!({"merchant_id": M, "files": [format!("uploads/{M}/a.csv")]});
        assert!(matches!(ExecutionInput::parse(&request), Ok(ExecutionInput::Request(_))));
        let job = json!({"job_id": M, "attempt": 2});
        assert!(matches!(ExecutionInput::parse(&job), Ok(ExecutionInput::Job { attempt: 2, .. })));
        for bad in [json!([]), json!({}), json!({"detail": {}}), json!({"merchant_id": "x", "files": []})] {
            assert!(ExecutionInput::parse(&bad).is_err(), "{bad}");
        }
        let unknown = json!({"merchant_id": M, "prefix": "p", "options": {"max_reject": 1}});
        let error = ExecutionInput::parse(&unknown).expect_err("unknown option").to_string();
        assert!(error.contains("options") && error.contains("max_reject"), "{error}");
    }
}
