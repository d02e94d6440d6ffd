//! Which objects, in which versions: decided once, when the job opens.

use serde_json::{Value, json};
use shared::db::files::{self, Freeze, FrozenObject};
use shared::db::jobs::{self, Job};
use shared::db::pool::client;
use shared::domain::fault::{Fault, FaultReason, FileFault};
use shared::domain::source::{Manifest, Source, StartRequest};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::edge::App;
use shared::edge::sources;

use crate::headers::rejected;

/// Freezes the job's files and returns the job as it is then.
pub async fn freeze(app: &App, job: &Job) -> StepResult<Job> {
    let source = source_of(app, job).await?;
    let objects = objects(app, job, &source).await?;
    let fingerprint = sources::fingerprint(&objects, &source.mapping);
    let mut connection = app.db.connection().await?;
    match files::freeze(&mut connection, job, &objects, &fingerprint).await? {
        Freeze::Frozen => jobs::get(client(&connection), job.id).await,
        Freeze::ActiveElsewhere(other) => Err(StepError::new(
            StepErrorKind::ImportInProgress,
            format!("the same files are being imported by job {other}; wait for it, or cancel it"),
        )),
    }
}

/// The checked request behind the job: as sent, or as its manifest says.
async fn source_of(app: &App, job: &Job) -> StepResult<Source> {
    let invalid = |message: String| StepError::invalid(message);
    let info = &job.source_info;
    let Some(manifest_key) = info.get("manifest").and_then(Value::as_str) else {
        let request = StartRequest {
            merchant_id: job.merchant,
            files: info
                .get("files")
                .map(|files| serde_json::from_value(files.clone()))
                .transpose()
                .map_err(|e| invalid(format!("`files`: {e}")))?,
            prefix: info.get("prefix").and_then(Value::as_str).map(str::to_owned),
            mapping: Some(job.mapping.clone()),
            options: info
                .get("options")
                .map(|options| serde_json::from_value(options.clone()))
                .transpose()
                .map_err(|e| invalid(format!("`options`: {e}")))?,
        };
        return request.check().map_err(|error| invalid(error.to_string()));
    };
    let version = info.get("manifest_version").and_then(Value::as_str);
    let object =
        app.objects().head(manifest_key, version).await?.ok_or_else(|| {
            invalid(format!("{manifest_key} is not there any more; upload the manifest again"))
        })?;
    if object.bytes > 1024 * 1024 {
        return Err(invalid(format!("{manifest_key} is larger than 1 MiB")));
    }
    let bytes = app.objects().read(&object).await?;
    // Its members by name: serde would also take them in order from an array.
    let manifest: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| invalid(format!("{manifest_key}: {error}")))?;
    let manifest: Manifest = serde_json::from_value(Value::Object(manifest))
        .map_err(|error| invalid(format!("{manifest_key}: {error}")))?;
    let request = manifest.request(job.merchant, manifest_key);
    let source = request.check().map_err(|error| invalid(format!("{manifest_key}: {error}")))?;
    let known = json!({ "files": request.files, "prefix": request.prefix, "options": request.options });
    let connection = app.db.connection().await?;
    jobs::set_source(client(&connection), job, &without_nulls(known), &source.mapping, source.options)
        .await?;
    Ok(source)
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    value
}

/// The objects as they are now, in order of their keys.
async fn objects(app: &App, job: &Job, source: &Source) -> StepResult<Vec<FrozenObject>> {
    // An upload is imported in the version that its event names; everything else as it is now.
    let version = job.source_info.get("version_id").and_then(Value::as_str);
    let there = sources::resolve(app.objects(), source, version).await?;
    if there.missing.is_empty() {
        return Ok(there.objects);
    }
    let of = there.objects.len() + there.missing.len();
    let fault = || Fault::new(FaultReason::MissingObject, "there is no such object");
    let missing = there.missing.into_iter().map(|key| FileFault::new(key, fault())).collect();
    Err(rejected(app, job, missing, of).await)
}
