//! Finds the job of an execution: registered by an upload or by hand, or started by us.

use crate::Input;
use crate::input::{ExecutionInput, UploadedObject};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::db::jobs::{self, Job, NewJob, Registered};
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::key;
use shared::domain::source::{Door, Options, SourceInfo};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::App;
use shared::source::resolve::hex;

/// Whose job it is.
pub(crate) enum Start {
    /// This execution's.
    Mine(Box<Job>),
    /// Another execution has it.
    Elsewhere(JobId),
}

/// Finds or registers the execution's job. A request that is refused has a job too wherever its merchant is known,
/// so that `GET /imports` shows why.
pub(crate) async fn find_job(app: &App, input: &Input) -> StepResult<Start> {
    let asked = match ExecutionInput::parse(&input.input) {
        Ok(asked) => asked,
        Err(error) => {
            let refused = StepError::invalid(error.to_string());
            register_refused(app, input).await?;
            return Err(refused);
        }
    };
    let registered = match asked {
        ExecutionInput::Job { job, attempt } => {
            let connection = app.db.connection().await?;
            jobs::adopt(&connection, job, attempt, &input.execution_arn).await?;
            return Ok(Start::Mine(Box::new(jobs::get(&connection, job).await?)));
        }
        ExecutionInput::Upload(object) => register_upload(app, input, &object).await?,
        ExecutionInput::Request(request) => {
            let options = request.options.unwrap_or_default();
            // Checked when the files are frozen; until then the job keeps what was asked.
            let valid = request.check().map(|source| source.options).unwrap_or_default();
            let info = SourceInfo::of_request(Door::Execution, json!(request));
            let new = NewJob {
                merchant: request.merchant_id,
                created_by: None,
                source_info: info,
                source_event_key: None,
                mapping: request.mapping.as_ref(),
                options: if options == valid { options } else { Options::default() },
                execution_arn: &input.execution_arn,
            };
            register(app, &new).await?
        }
    };
    match registered {
        Registered::Own(id) => {
            let connection = app.db.connection().await?;
            Ok(Start::Mine(Box::new(jobs::get(&connection, id).await?)))
        }
        Registered::Elsewhere(id) => Ok(Start::Elsewhere(id)),
        Registered::UnknownMerchant => Err(StepError::invalid("there is no such merchant")),
    }
}

/// Registers a job for input that can't be understood but names a merchant, so that there is a job to show the error on.
async fn register_refused(app: &App, input: &Input) -> StepResult<()> {
    let merchant = input.input.get("merchant_id").and_then(|id| serde_json::from_value(id.clone()).ok());
    let Some(merchant) = merchant else { return Ok(()) };
    let new = NewJob {
        merchant: MerchantId(merchant),
        created_by: None,
        source_info: SourceInfo::of_request(Door::Execution, shorten(&input.input)),
        source_event_key: None,
        mapping: None,
        options: Options::default(),
        execution_arn: &input.execution_arn,
    };
    register(app, &new).await.map(|_| ())
}

/// Registers an upload: `import/...` is one file, `stage/.../manifest.json` a batch.
async fn register_upload(app: &App, input: &Input, object: &UploadedObject) -> StepResult<Registered> {
    if object.bucket != app.objects().bucket() {
        return Err(StepError::invalid(format!("the event is about the bucket {}, not ours", object.bucket)));
    }
    let merchant = key::merchant_of(&object.key).ok_or_else(|| {
        StepError::invalid(format!(
            "key_outside_merchant: `{}` does not name a merchant in its second segment",
            object.key
        ))
    })?;
    key::check_key(merchant, &object.key).map_err(|error| StepError::invalid(error.to_string()))?;
    let info = if object.key.ends_with("/manifest.json") {
        SourceInfo {
            manifest: Some(object.key.clone()),
            manifest_version: object.version_id.clone(),
            ..SourceInfo::new(Door::S3)
        }
    } else {
        SourceInfo {
            version_id: object.version_id.clone(),
            ..SourceInfo::of_request(Door::S3, json!({ "files": [object.key] }))
        }
    };
    let new = NewJob {
        merchant,
        created_by: None,
        source_info: info,
        source_event_key: Some(event_key(object)),
        mapping: None,
        options: Options::default(),
        execution_arn: &input.execution_arn,
    };
    register(app, &new).await
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

/// What was asked, shortened if it is too long to keep.
fn shorten(input: &Value) -> Value {
    let text = input.to_string();
    if input.is_object() && text.len() <= 64 * 1024 {
        return input.clone();
    }
    json!({ "input": text.chars().take(1000).collect::<String>() })
}
