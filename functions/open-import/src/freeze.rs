//! Which objects, in which versions: decided once, when the job opens.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::db::files::{self, Freeze, FrozenObject};
use shared::db::jobs::{self, Job};
use shared::db::pool::client;
use shared::domain::fault::{Fault, FaultReason, FileFault};
use shared::domain::key;
use shared::domain::source::{MAX_FILES, Manifest, Mapping, Selection, Source, StartRequest};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::edge::App;

use crate::headers::rejected;

/// HEAD requests under way at a time.
const LOOKS: usize = 16;

/// Freezes the job's files and returns the job as it is then.
pub async fn freeze(app: &App, job: &Job) -> StepResult<Job> {
    let source = source_of(app, job).await?;
    let objects = objects(app, job, &source).await?;
    let fingerprint = fingerprint(&objects, &source.mapping);
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
        app.objects.head(manifest_key, version).await?.ok_or_else(|| {
            invalid(format!("{manifest_key} is not there any more; upload the manifest again"))
        })?;
    if object.bytes > 1024 * 1024 {
        return Err(invalid(format!("{manifest_key} is larger than 1 MiB")));
    }
    let bytes = app.objects.read(&object).await?;
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

/// The objects as they are now, in order of their keys. Each key is checked again: a listing is input too.
async fn objects(app: &App, job: &Job, source: &Source) -> StepResult<Vec<FrozenObject>> {
    let mut keys = match &source.selection {
        Selection::Files(keys) => keys.clone(),
        Selection::Prefix(prefix) => {
            let listed = app.objects.list(prefix, MAX_FILES + 1).await?;
            listed.into_iter().filter(|key| !key.ends_with("/manifest.json")).collect()
        }
    };
    keys.sort_unstable();
    if let Selection::Prefix(prefix) = &source.selection {
        match keys.len() {
            0 => return Err(StepError::invalid(format!("there is no file under {prefix}"))),
            n if n > MAX_FILES => {
                let message =
                    format!("there are more than {MAX_FILES} files under {prefix}: split the batch");
                return Err(StepError::invalid(message));
            }
            _ => {}
        }
        for key in &keys {
            key::check_key(job.merchant, key).map_err(|error| StepError::invalid(error.to_string()))?;
        }
    }
    // An upload is imported in the version that its event names; everything else as it is now.
    let version = job.source_info.get("version_id").and_then(Value::as_str);
    let found: Vec<(String, Option<FrozenObject>)> = stream::iter(keys)
        .map(|key| async move {
            let object = app.objects.head(&key, version).await?;
            Ok::<_, StepError>((key, object))
        })
        .buffered(LOOKS)
        .try_collect()
        .await?;
    let missing: Vec<FileFault> = found
        .iter()
        .filter(|(_, object)| object.is_none())
        .map(|(key, _)| {
            FileFault::new(key, Fault::new(FaultReason::MissingObject, "there is no such object"))
        })
        .collect();
    if !missing.is_empty() {
        return Err(rejected(app, job, missing, found.len()).await);
    }
    Ok(found.into_iter().filter_map(|(_, object)| object).collect())
}

/// Names a source: the same objects with the same mapping have the same fingerprint.
fn fingerprint(objects: &[FrozenObject], mapping: &Mapping) -> String {
    let mut hash = Sha256::new();
    for object in objects {
        for part in [&object.key, object.version_id.as_ref().unwrap_or(&object.etag)] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
    }
    hash.update(json!(mapping).to_string());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
