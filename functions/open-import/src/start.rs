//! Whose job this execution is: registered by an upload or by hand, or started by us.

use crate::Input;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::db::jobs::{self, Job, NewJob, Registered};
use shared::db::pool::client;
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::key;
use shared::domain::source::{Door, Options, UploadedObject};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::edge::App;
use shared::edge::sources::hex;

pub enum Start {
    Mine(Box<Job>),
    Elsewhere(JobId),
}

/// Finds or registers the execution's job. A request that is refused has a job too wherever its merchant is known,
/// so that `GET /imports` shows why.
pub async fn job_of(app: &App, input: &Input) -> StepResult<Start> {
    let door = match Door::parse(&input.input) {
        Ok(door) => door,
        Err(error) => {
            let refused = StepError::invalid(error.to_string());
            register_refused(app, input).await?;
            return Err(refused);
        }
    };
    let registered = match door {
        Door::Job { job, attempt } => {
            let connection = app.db.connection().await?;
            jobs::adopt(client(&connection), job, attempt, &input.execution_arn).await?;
            return Ok(Start::Mine(Box::new(jobs::get(client(&connection), job).await?)));
        }
        Door::Upload(object) => register_upload(app, input, &object).await?,
        Door::Request(request) => {
            let options = request.options.unwrap_or_default();
            // Checked when the files are frozen; until then the job keeps what was asked.
            let valid = request.check().map(|source| source.options).unwrap_or_default();
            let info = with_door(json!(request), "execution");
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
            Ok(Start::Mine(Box::new(jobs::get(client(&connection), id).await?)))
        }
        Registered::Elsewhere(id) => Ok(Start::Elsewhere(id)),
        Registered::UnknownMerchant => Err(StepError::invalid("there is no such merchant")),
    }
}

/// Input that fits no door, but names a merchant: a job to show the error on.
async fn register_refused(app: &App, input: &Input) -> StepResult<()> {
    let merchant = input.input.get("merchant_id").and_then(|id| serde_json::from_value(id.clone()).ok());
    let Some(merchant) = merchant else { return Ok(()) };
    let new = NewJob {
        merchant: MerchantId(merchant),
        created_by: None,
        source_info: with_door(bounded(&input.input), "execution"),
        source_event_key: None,
        mapping: None,
        options: Options::default(),
        execution_arn: &input.execution_arn,
    };
    register(app, &new).await.map(|_| ())
}

/// An upload: `import/...` is one file, `stage/.../manifest.json` a batch.
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
    let what = if object.key.ends_with("/manifest.json") {
        json!({ "manifest": object.key, "manifest_version": object.version_id })
    } else {
        json!({ "files": [object.key], "version_id": object.version_id })
    };
    let new = NewJob {
        merchant,
        created_by: None,
        source_info: with_door(what, "s3"),
        source_event_key: Some(event_key(object)),
        mapping: None,
        options: Options::default(),
        execution_arn: &input.execution_arn,
    };
    register(app, &new).await
}

/// S3 delivers an event at least once: the same upload is the same job. Bounded, whatever the key's length.
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
    match jobs::register(client(&connection), new).await {
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

fn with_door(mut info: Value, door: &str) -> Value {
    if let Some(members) = info.as_object_mut() {
        members.insert("door".into(), door.into());
        members.retain(|_, value| !value.is_null());
    }
    info
}

/// What was asked, unless it is too long to keep.
fn bounded(input: &Value) -> Value {
    let text = input.to_string();
    if input.is_object() && text.len() <= 64 * 1024 {
        return input.clone();
    }
    json!({ "input": text.chars().take(1000).collect::<String>() })
}
