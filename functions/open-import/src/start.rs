//! Finds the job of an execution: registered by an upload or by hand, or started by us.

use crate::Input;
use crate::input::{ExecutionInput, UploadedObject};
use crate::upload;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::db::jobs::{self, Job, NewJob, Registered};
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::json::find_nul;
use shared::domain::key;
use shared::domain::remark::shorten;
use shared::domain::source::{Door, Options, SourceInfo};
use shared::domain::step::{MAX_MESSAGE_BYTES, StepError, StepErrorKind, StepResult};
use shared::lambda::App;
use shared::lambda::metrics::{Metric, count};
use shared::source::resolve::hex;

/// How many bytes of a request that is refused its job keeps.
const SHOWN_INPUT_BYTES: usize = 4096;

/// Whose job it is.
pub(crate) enum Start {
    /// This execution's.
    Mine(Box<Job>),
    /// Nobody's: there is nothing to do.
    Nothing { job: Option<JobId>, reason: &'static str },
}

/// Finds or registers the execution's job. A request that is refused has a job too wherever its merchant is known,
/// so that `GET /imports` shows why: opening that job says it, now and in every retry.
pub(crate) async fn find_job(app: &App, input: &Input) -> StepResult<Start> {
    let registered = match ExecutionInput::parse(&input.input) {
        Err(error) => register_refused(app, input, error.into()).await?,
        Ok(ExecutionInput::Job { job, attempt }) => {
            let connection = app.db.connection().await?;
            jobs::adopt(&connection, job, attempt, &input.execution_arn).await?;
            return Ok(Start::Mine(Box::new(jobs::get(&connection, job).await?)));
        }
        Ok(ExecutionInput::Upload(object)) if upload::is_marker(&object) => {
            tracing::info!(
                key = object.key,
                "passed over: a tool has left this object, and it holds no codes"
            );
            return Ok(Start::Nothing { job: None, reason: "this object is no file to import" });
        }
        Ok(ExecutionInput::Upload(object)) => register_upload(app, input, &object).await?,
        Ok(ExecutionInput::Request(request)) => match request.check() {
            Ok(source) => {
                let new = NewJob {
                    merchant: source.merchant,
                    created_by: None,
                    source_info: SourceInfo::of_request(Door::Execution, json!(request)),
                    files_asked: request.files.as_deref(),
                    source_event_key: None,
                    mapping: request.mapping.as_ref(),
                    options: source.options,
                    execution_arn: &input.execution_arn,
                };
                register(app, &new).await?
            }
            Err(error) => register_refused(app, input, StepError::invalid(error.to_string())).await?,
        },
    };
    match registered {
        Registered::Own(id) => {
            let connection = app.db.connection().await?;
            Ok(Start::Mine(Box::new(jobs::get(&connection, id).await?)))
        }
        Registered::Elsewhere(id) => {
            Ok(Start::Nothing { job: Some(id), reason: "this upload is imported by another execution" })
        }
        Registered::UnknownMerchant => Err(StepError::invalid("there is no such merchant")),
    }
}

/// Registers a job for input that is refused but names a merchant, so that there is a job to show the error on.
async fn register_refused(app: &App, input: &Input, error: StepError) -> StepResult<Registered> {
    let merchant = input.input.get("merchant_id").and_then(|id| serde_json::from_value(id.clone()).ok());
    let Some(merchant) = merchant else { return Err(error) };
    let new = NewJob {
        merchant: MerchantId(merchant),
        created_by: None,
        source_info: SourceInfo {
            refused: Some(shorten(&error.message, MAX_MESSAGE_BYTES).into_owned()),
            // Apart from our own members: what nobody could read must not be read as something else.
            ..SourceInfo::of_request(Door::Execution, json!({ "input": show_input(&input.input) }))
        },
        files_asked: None,
        source_event_key: None,
        mapping: None,
        options: Options::default(),
        execution_arn: &input.execution_arn,
    };
    register(app, &new).await
}

/// Registers an upload, once per event.
async fn register_upload(app: &App, input: &Input, object: &UploadedObject) -> StepResult<Registered> {
    if object.bucket != app.objects().bucket() {
        return Err(StepError::invalid(format!("the event is about the bucket {}, not ours", object.bucket)));
    }
    let Some(merchant) = key::merchant_of(&object.key) else {
        count(Metric::UploadsWithoutMerchant);
        return Err(StepError::invalid(format!(
            "key_outside_merchant: {:?} names no merchant; upload the file under import/{{merchant id}}/",
            object.key
        )));
    };
    let new = NewJob {
        merchant,
        created_by: None,
        source_info: upload::describe(merchant, object),
        files_asked: None,
        source_event_key: Some(event_key(object)),
        mapping: None,
        options: Options::default(),
        execution_arn: &input.execution_arn,
    };
    register(app, &new).await.inspect_err(|error| {
        if error.kind == StepErrorKind::InvalidInput {
            count(Metric::UploadsWithoutMerchant);
        }
    })
}

/// Names an upload: S3 delivers an event at least once, and the same upload is the same job. A hash is short, however long
/// the key is.
fn event_key(object: &UploadedObject) -> String {
    let mut hash = Sha256::new();
    for part in [&object.bucket, &object.key, &object.version] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize())
}

async fn register(app: &App, new: &NewJob<'_>) -> StepResult<Registered> {
    let connection = app.db.connection().await?;
    match jobs::register(&connection, new).await {
        Err(error) if error.constraint() == Some("codes_import_jobs_merchant_id_fkey") => {
            Ok(Registered::UnknownMerchant)
        }
        Err(error) => Err(error.into()),
        Ok(Registered::UnknownMerchant) => {
            Err(StepError::new(StepErrorKind::InvalidInput, format!("there is no merchant {}", new.merchant)))
        }
        Ok(registered) => Ok(registered),
    }
}

/// What was asked. As text, and shortened, if it is too long to keep or holds a character that can't be stored.
fn show_input(input: &Value) -> Value {
    let text = input.to_string();
    if text.len() <= SHOWN_INPUT_BYTES && find_nul(input).is_none() {
        return input.clone();
    }
    shorten(&text, SHOWN_INPUT_BYTES).into()
}
