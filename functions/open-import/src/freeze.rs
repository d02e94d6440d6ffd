//! Freezes the files of an import: which objects, in which versions, is decided once.

use crate::headers::record_rejected;
use crate::manifest;
use serde_json::Value;
use shared::db::jobs::{self, Job};
use shared::db::{Limits, files};
use shared::domain::fault::{Fault, FaultReason, FileFault};
use shared::domain::ids::JobId;
use shared::domain::object::FrozenObject;
use shared::domain::source::{Source, StartRequest};
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::App;
use shared::source::resolve;

/// Freezes the job's files and returns the job as it is then.
pub(crate) async fn freeze(app: &App, job: &Job) -> StepResult<Job> {
    let source = match &job.source_info.manifest {
        Some(key) => manifest::read_source(app, job, key).await?,
        None => check_request(job)?,
    };
    let objects = find_objects(app, job, &source).await?;
    let fingerprint = resolve::fingerprint(&objects, &source.mapping);
    write(app, job, &objects, &fingerprint).await?;
    jobs::get(&app.db.connection().await?, job.id).await
}

/// Checks the request that is kept on the job.
fn check_request(job: &Job) -> StepResult<Source> {
    let asked = &job.source_info.request;
    let request = StartRequest {
        merchant_id: job.merchant,
        files: read_member(asked.get("files"), "files")?,
        prefix: asked.get("prefix").and_then(Value::as_str).map(str::to_owned),
        mapping: Some(job.mapping.clone()),
        options: read_member(asked.get("options"), "options")?,
    };
    request.check().map_err(|error| StepError::invalid(error.to_string()))
}

fn read_member<T: serde::de::DeserializeOwned>(value: Option<&Value>, name: &str) -> StepResult<Option<T>> {
    let read = value.map(|value| serde_json::from_value(value.clone())).transpose();
    read.map_err(|error| StepError::invalid(format!("`{name}`: {error}")))
}

/// Writes the files, under the index that lets one job at a time import the same source.
async fn write(app: &App, job: &Job, objects: &[FrozenObject], fingerprint: &str) -> StepResult<()> {
    let mut connection = app.db.connection().await?;
    let tx = connection.begin("open.freeze", Limits::short()).await?;
    match jobs::freeze(&tx, job, fingerprint).await {
        Ok(true) => {
            files::insert(&tx, job.id, objects).await?;
            Ok(tx.commit().await?)
        }
        Ok(false) => {
            let found = jobs::get(&tx, job.id).await?;
            tx.rollback().await?;
            // A ghost of this very step was quicker.
            if found.frozen { Ok(()) } else { Err(found.refusal(job.attempt, Status::Pending)) }
        }
        Err(error) if jobs::is_active_source(&error) => {
            tx.rollback().await?;
            let other = jobs::find_active_source(&connection, job.merchant, fingerprint).await?;
            Err(name_active(other))
        }
        Err(error) => Err(error.into()),
    }
}

fn name_active(other: Option<JobId>) -> StepError {
    match other {
        Some(other) => StepError::new(
            StepErrorKind::ImportInProgress,
            format!("the same files are being imported by job {other}; wait for it, or cancel it"),
        ),
        None => StepError::new(StepErrorKind::Transient, "the same import has just ended; try again"),
    }
}

/// Looks the objects up, in order of their keys.
async fn find_objects(app: &App, job: &Job, source: &Source) -> StepResult<Vec<FrozenObject>> {
    // An upload is imported in the version that its event names; everything else as it is now.
    let version = job.source_info.version_id.as_deref();
    let found = resolve::resolve(app.objects(), source, version).await?;
    if found.missing.is_empty() {
        return Ok(found.objects);
    }
    let of = found.objects.len() + found.missing.len();
    let fault = || Fault::new(FaultReason::MissingObject, "there is no such object");
    let missing = found.missing.into_iter().map(|key| FileFault::new(key, fault())).collect();
    Err(record_rejected(app, job, missing, of).await)
}
