//! Freezes the files of an import: which objects, in which versions, is decided once.

use crate::input::read;
use crate::manifest;
use serde_json::{Value, json};
use shared::db::jobs::{self, Job};
use shared::db::{Limits, files};
use shared::domain::ids::JobId;
use shared::domain::object::FrozenObject;
use shared::domain::source::{Source, StartRequest};
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::App;
use shared::source::resolve::{self, Resolved};

/// Freezes the job's files and returns the job as it is then.
pub(crate) async fn freeze(app: &App, job: &Job) -> StepResult<Job> {
    let source = match &job.source_info.manifest {
        Some(key) => manifest::read_source(app, job, key).await?,
        None => check_request(job)?,
    };
    let found = find_objects(app, job, &source).await?;
    let fingerprint = resolve::fingerprint(&found.objects, &source.mapping);
    write(app, job, &found, &fingerprint).await?;
    jobs::get(&app.db.connection().await?, job.id).await
}

/// Reads the request that is kept on the job, whole and as strictly as the first time: a retry never imports less than
/// was asked.
fn check_request(job: &Job) -> StepResult<Source> {
    if let Some(reason) = &job.source_info.refused {
        return Err(StepError::invalid(reason));
    }
    let mut members = job.source_info.request.clone();
    members.insert("merchant_id".into(), json!(job.merchant));
    if let Some(keys) = &job.files_asked {
        members.insert("files".into(), json!(keys));
    }
    let request: StartRequest = read(&Value::Object(members))?;
    request.check().map_err(|error| StepError::invalid(error.to_string()))
}

/// Writes the files, under the index that lets one job at a time import the same source.
async fn write(app: &App, job: &Job, found: &Resolved, fingerprint: &str) -> StepResult<()> {
    let mut connection = app.db.connection().await?;
    let tx = connection.begin("open.freeze", Limits::short()).await?;
    match jobs::freeze(&tx, job, fingerprint, &found.passed_over).await {
        Ok(true) => {
            files::insert(&tx, job.id, &found.objects).await?;
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

pub(crate) fn name_active(other: Option<JobId>) -> StepError {
    match other {
        Some(other) => StepError::new(
            StepErrorKind::ImportInProgress,
            format!("the same files are being imported by job {other}; wait for it, or cancel it"),
        ),
        None => StepError::new(StepErrorKind::Transient, "the same import has just ended; try again"),
    }
}

/// Looks the objects up, in order of their keys. One that can't be had has its place: reading the headers says why.
async fn find_objects(app: &App, job: &Job, source: &Source) -> StepResult<Resolved> {
    // An upload is imported in the version that its event names; everything else as it is now.
    let version = job.source_info.version_id.as_deref();
    let mut found = resolve::resolve(app.objects(), &app.db, source, version).await?;
    found.objects.extend(found.faults.drain(..).map(|fault| FrozenObject::missing(fault.file)));
    found.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}
