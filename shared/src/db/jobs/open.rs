//! Opening an import: registering its job, freezing its source, taking the merchant's lease.

use super::{Job, get, statements as sql};
use crate::db::connection::Session;
use crate::db::error::{DbError, DbResult};
use crate::db::guarded::ACTIVE_SOURCE;
use crate::domain::fault::SHOWN_FAULTS;
use crate::domain::field::Mapping;
use crate::domain::ids::{JobId, MerchantId, UserId};
use crate::domain::source::{Options, SourceInfo};
use crate::domain::status::Status;
use crate::domain::step::StepResult;
use serde_json::{Value, json};
use tokio_postgres::types::Json;

/// What a new job is registered with.
#[derive(Debug)]
pub struct NewJob<'a> {
    /// Whose codes it imports.
    pub merchant: MerchantId,
    /// The user who started it; `None` for an upload.
    pub created_by: Option<UserId>,
    /// What was asked, and through which door.
    pub source_info: SourceInfo,
    /// Every key that was asked for.
    pub files_asked: Option<&'a [String]>,
    /// Names an upload, so that its event makes one job.
    pub source_event_key: Option<String>,
    /// The mapping that was asked for.
    pub mapping: Option<&'a Mapping>,
    /// The options that were asked for.
    pub options: Options,
    /// The execution that registers it.
    pub execution_arn: &'a str,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// A job of this execution: new, or made by this execution before.
    Own(JobId),
    /// Another execution has this event's job.
    Elsewhere(JobId),
    /// There is no such merchant.
    UnknownMerchant,
}

/// Registers a job, once per execution and once per S3 event.
pub async fn register(on: &dyn Session, new: &NewJob<'_>) -> DbResult<Registered> {
    let id = JobId::generate();
    let mapping = new.mapping.map(Json);
    let made = sql::REGISTER
        .opt(
            on,
            &[
                &id,
                &new.merchant,
                &new.created_by,
                &Json(&new.source_info),
                &new.source_event_key,
                &mapping,
                &new.options.max_duplicate_ratio,
                &max_rejects(new.options),
                &new.execution_arn,
                &new.files_asked,
            ],
        )
        .await?;
    if made.is_some() {
        return Ok(Registered::Own(id));
    }
    let found = sql::FIND_START.opt(on, &[&new.execution_arn, &new.source_event_key]).await?;
    Ok(match found {
        Some(row) if row.get::<_, bool>("own") => Registered::Own(JobId(row.get("id"))),
        Some(row) => Registered::Elsewhere(JobId(row.get("id"))),
        None => Registered::UnknownMerchant,
    })
}

/// `max_rejects` as the column holds it.
pub(super) fn max_rejects(options: Options) -> i32 {
    i32::try_from(options.max_rejects).unwrap_or(i32::MAX)
}

/// Gives the job to the execution that we started for it.
pub async fn adopt(on: &dyn Session, job: JobId, attempt: i32, execution_arn: &str) -> StepResult<()> {
    if sql::ADOPT.run_guarded(on, &[&job, &attempt, &execution_arn]).await? {
        return Ok(());
    }
    let found = get(on, job).await?;
    // A repeated task of this execution after its job has moved on.
    if found.attempt == attempt && found.execution_arn.as_deref() == Some(execution_arn) {
        return Ok(());
    }
    Err(found.refusal(attempt, Status::Loading))
}

/// Keeps what a manifest says, once it has been read. `false`: the files are frozen already.
pub async fn set_source(
    on: &dyn Session,
    job: &Job,
    asked: &SourceInfo,
    mapping: &Mapping,
    options: Options,
) -> DbResult<bool> {
    sql::SET_SOURCE
        .run_guarded(
            on,
            &[
                &job.id,
                &job.attempt,
                &Json(asked),
                &Json(mapping),
                &options.max_duplicate_ratio,
                &max_rejects(options),
            ],
        )
        .await
}

/// Marks the job's files as frozen, under the fingerprint of its source, and keeps the names of what was passed over.
/// `false`: they are frozen already, or the attempt is over. Refused by the index `codes_import_jobs_active_source` while
/// another job imports the same source.
pub async fn freeze(
    on: &dyn Session,
    job: &Job,
    fingerprint: &str,
    passed_over: &[String],
) -> DbResult<bool> {
    let shown = match passed_over {
        [] => json!({}),
        names => json!({ "passed_over": names }),
    };
    sql::FREEZE.run_guarded(on, &[&job.id, &job.attempt, &fingerprint, &shown]).await
}

/// Keeps the fingerprint of a source that has changed, because objects were found that were missing. `false`: the attempt is
/// over. Refused as `freeze` is.
pub async fn freeze_again(on: &dyn Session, job: &Job, fingerprint: &str) -> DbResult<bool> {
    sql::FREEZE_AGAIN.run_guarded(on, &[&job.id, &job.attempt, &fingerprint]).await
}

/// Whether an error says that another job imports the same source.
pub fn is_active_source(error: &DbError) -> bool {
    error.constraint() == Some(ACTIVE_SOURCE)
}

/// The job that imports this source now.
pub async fn find_active_source(
    on: &dyn Session,
    merchant: MerchantId,
    fingerprint: &str,
) -> DbResult<Option<JobId>> {
    let row = sql::ACTIVE_SOURCE.opt(on, &[&merchant, &fingerprint]).await?;
    Ok(row.map(|row| JobId(row.get("id"))))
}

/// Gives split points to a job that is loading without any: a retry of one that never opened.
pub async fn set_split_points(on: &dyn Session, job: &Job, split_points: &[String]) -> DbResult<bool> {
    sql::SET_SPLIT_POINTS.run_guarded(on, &[&job.id, &job.attempt, &split_points]).await
}

/// Marks that the job's staging workspace exists. `false`: it exists already, or the attempt is over.
pub async fn set_staging_created(on: &dyn Session, job: &Job) -> DbResult<bool> {
    sql::STAGING_CREATED.run_guarded(on, &[&job.id, &job.attempt]).await
}

/// Keeps the faults of files for `validation_errors`. `false`: the attempt is over.
pub async fn add_errors(on: &dyn Session, job: JobId, attempt: i32, errors: &Value) -> DbResult<bool> {
    sql::ADD_ERRORS.run_guarded(on, &[&job, &attempt, errors]).await
}

/// Adds one fault to `validation_errors`. `false`: it is there, there are enough, or the attempt is over.
pub async fn append_error(on: &dyn Session, job: JobId, attempt: i32, error: &Value) -> DbResult<bool> {
    let most = i32::try_from(SHOWN_FAULTS).unwrap_or(i32::MAX);
    sql::APPEND_ERROR.run_guarded(on, &[&job, &attempt, error, &most]).await
}

/// The job of an execution, if it has one.
pub async fn find_by_execution(on: &dyn Session, execution_arn: &str) -> DbResult<Option<(JobId, i32)>> {
    let row = sql::FIND_BY_EXECUTION.opt(on, &[&execution_arn]).await?;
    Ok(row.map(|row| (JobId(row.get("id")), row.get("attempt"))))
}
