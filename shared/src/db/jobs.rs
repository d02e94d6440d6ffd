//! The row of a job: registering it, moving it from state to state, and saying why it could not be moved.

use super::error::{DbError, DbResult};
use super::pool::{Connection, Database, client};
use super::sql;
use super::transaction::{Limits, begin, commit};
use crate::domain::ids::{JobId, MerchantId, UserId};
use crate::domain::job::Status;
use crate::domain::source::{Mapping, Options};
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use serde_json::Value;
use tokio_postgres::types::{Json, Type};
use tokio_postgres::{Client, Row};

/// Ways back that a job may take before a person has to look.
pub const MAX_WAYS_BACK: i32 = 3;

/// What a step needs to know of its job.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub merchant: MerchantId,
    pub status: Status,
    pub phase: String,
    pub attempt: i32,
    pub cancel_requested: bool,
    pub day_old: bool,
    pub age_seconds: f64,
    pub source_info: Value,
    pub mapping: Mapping,
    pub options: Options,
    pub frozen: bool,
    pub staging_created: bool,
    pub split_points: Option<Vec<String>>,
    pub codes_epoch: Option<i64>,
    pub restage_count: i32,
    pub recheck_count: i32,
    pub blocked: bool,
    pub execution_arn: Option<String>,
    pub task_token: Option<String>,
    pub staged: Option<i64>,
    pub clean: Option<i64>,
    pub clean_checksum: Option<i64>,
    pub inserted: Option<Inserted>,
    pub approved: bool,
    pub error_message: Option<String>,
}

/// What the insert left on the job's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    pub codes: i64,
    pub late: i64,
    pub checksum: i64,
}

impl Job {
    fn read(row: &Row) -> DbResult<Self> {
        let status: &str = row.get("status");
        let inserted: bool = row.get("inserted");
        Ok(Self {
            id: JobId(row.get("id")),
            merchant: MerchantId(row.get("merchant_id")),
            status: status.parse().map_err(|e| DbError::new("jobs.state", e))?,
            phase: row.get("phase"),
            attempt: row.get("attempt"),
            cancel_requested: row.get("cancel_requested"),
            day_old: row.get("day_old"),
            age_seconds: row.get("age_seconds"),
            source_info: row.get("source_info"),
            mapping: row.get::<_, Option<Json<Mapping>>>("mapping").map(|json| json.0).unwrap_or_default(),
            options: Options {
                max_duplicate_ratio: row.get("max_duplicate_ratio"),
                max_rejects: u32::try_from(row.get::<_, i32>("max_rejects")).unwrap_or_default(),
            },
            frozen: row.get("frozen"),
            staging_created: row.get("staging_created"),
            split_points: row.get("split_points"),
            codes_epoch: row.get("codes_epoch"),
            restage_count: row.get("restage_count"),
            recheck_count: row.get("recheck_count"),
            blocked: row.get("blocked"),
            execution_arn: row.get("execution_arn"),
            task_token: row.get("task_token"),
            staged: row.get("staged"),
            clean: row.get("total_codes_to_insert"),
            clean_checksum: row.get("clean_checksum"),
            inserted: inserted.then(|| Inserted {
                codes: row.get("codes_inserted"),
                late: row.get("late_duplicates"),
                checksum: row.get("codes_checksum"),
            }),
            approved: row.get("approved"),
            error_message: row.get("error_message"),
        })
    }

    /// The buckets of its staging.
    pub fn buckets(&self) -> usize {
        self.split_points.as_ref().map_or(1, |points| points.len() + 1)
    }

    /// Whether this attempt may load files.
    fn may_load(&self, attempt: i32) -> bool {
        self.attempt == attempt && self.status == Status::Loading && !self.cancel_requested
    }

    /// Why a step that expected `expected` in `attempt` may not write.
    pub fn refusal(&self, attempt: i32, expected: Status) -> StepError {
        let refuse = |kind, message: &str| StepError::new(kind, format!("job {}: {message}", self.id));
        if self.attempt != attempt {
            return refuse(StepErrorKind::Superseded, "another attempt is at work");
        }
        if self.cancel_requested || self.status == Status::Cancelled {
            return refuse(StepErrorKind::Cancelled, "the import was cancelled");
        }
        match (self.status, expected) {
            (Status::Loading, Status::Checking | Status::Validating | Status::Processing) => {
                refuse(StepErrorKind::StagingLost, "staging was lost and is loaded again")
            }
            (Status::Checking, Status::Validating | Status::Processing) => {
                refuse(StepErrorKind::CountMismatch, "production moved since the marking; marking again")
            }
            (status, _) => refuse(
                StepErrorKind::Superseded,
                &format!("it is {}, not {}: somebody else decided", status.as_str(), expected.as_str()),
            ),
        }
    }
}

/// Reads a job.
pub async fn find(client: &Client, job: JobId) -> DbResult<Option<Job>> {
    sql::JOBS_STATE.opt(client, &[(&job.0, Type::UUID)]).await?.as_ref().map(Job::read).transpose()
}

/// Reads a job that must exist.
pub async fn get(client: &Client, job: JobId) -> StepResult<Job> {
    find(client, job).await?.ok_or_else(|| StepError::invalid(format!("there is no import job {job}")))
}

/// Reads a job and checks that the step may work on it.
pub async fn expect(client: &Client, job: JobId, attempt: i32, expected: Status) -> StepResult<Job> {
    let found = get(client, job).await?;
    if found.attempt != attempt || found.status != expected || found.cancel_requested {
        return Err(found.refusal(attempt, expected));
    }
    Ok(found)
}

/// The refusal for a guarded UPDATE that touched no row.
pub async fn refusal(client: &Client, job: JobId, attempt: i32, expected: Status) -> StepError {
    match get(client, job).await {
        Ok(found) => found.refusal(attempt, expected),
        Err(error) => error,
    }
}

/// Locks the job's row against whoever supersedes, retries or cancels, until the transaction ends.
pub async fn fence(client: &Client, job: JobId, attempt: i32, status: Status) -> StepResult<()> {
    let held = sql::JOBS_FENCE
        .opt(client, &[(&job.0, Type::UUID), (&attempt, Type::INT4), (&status.as_str(), Type::TEXT)])
        .await?;
    match held {
        Some(_) => Ok(()),
        None => Err(refusal(client, job, attempt, status).await),
    }
}

/// What a new job is registered with.
#[derive(Debug)]
pub struct NewJob<'a> {
    pub merchant: MerchantId,
    pub created_by: Option<UserId>,
    pub source_info: Value,
    pub source_event_key: Option<String>,
    pub mapping: Option<&'a Mapping>,
    pub options: Options,
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
pub async fn register(client: &Client, new: &NewJob<'_>) -> DbResult<Registered> {
    let id = JobId::generate();
    let max_rejects = i32::try_from(new.options.max_rejects).unwrap_or(i32::MAX);
    let made = sql::JOBS_REGISTER
        .opt(
            client,
            &[
                (&id.0, Type::UUID),
                (&new.merchant.0, Type::UUID),
                (&new.created_by.map(|user| user.0), Type::UUID),
                (&new.source_info, Type::JSONB),
                (&new.source_event_key, Type::TEXT),
                (&new.mapping.map(Json), Type::JSONB),
                (&new.options.max_duplicate_ratio, Type::FLOAT8),
                (&max_rejects, Type::INT4),
                (&new.execution_arn, Type::TEXT),
            ],
        )
        .await?;
    if made.is_some() {
        return Ok(Registered::Own(id));
    }
    let found = sql::JOBS_FIND_START
        .opt(client, &[(&new.execution_arn, Type::TEXT), (&new.source_event_key, Type::TEXT)])
        .await?;
    Ok(match found {
        Some(row) if row.get::<_, bool>("own") => Registered::Own(JobId(row.get("id"))),
        Some(row) => Registered::Elsewhere(JobId(row.get("id"))),
        None => Registered::UnknownMerchant,
    })
}

/// The execution that we started takes its job.
pub async fn adopt(client: &Client, job: JobId, attempt: i32, execution_arn: &str) -> StepResult<()> {
    let taken = sql::JOBS_ADOPT
        .run(client, &[(&job.0, Type::UUID), (&attempt, Type::INT4), (&execution_arn, Type::TEXT)])
        .await?;
    if taken == 0 {
        let found = get(client, job).await?;
        // A repeated task of this execution after its job has moved on.
        if found.attempt == attempt && found.execution_arn.as_deref() == Some(execution_arn) {
            return Ok(());
        }
        return Err(found.refusal(attempt, Status::Loading));
    }
    Ok(())
}

/// A manifest's contents, once it has been read.
pub async fn set_source(
    client: &Client,
    job: &Job,
    info: &Value,
    mapping: &Mapping,
    options: Options,
) -> DbResult<()> {
    let max_rejects = i32::try_from(options.max_rejects).unwrap_or(i32::MAX);
    sql::JOBS_SET_SOURCE
        .run(
            client,
            &[
                (&job.id.0, Type::UUID),
                (&job.attempt, Type::INT4),
                (info, Type::JSONB),
                (&Json(mapping), Type::JSONB),
                (&options.max_duplicate_ratio, Type::FLOAT8),
                (&max_rejects, Type::INT4),
            ],
        )
        .await
        .map(|_| ())
}

/// What became of asking for the merchant's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    Taken,
    Busy,
}

/// `pending -> loading` with the merchant's lease, or `Busy` while another import of the merchant works
/// or one that came earlier waits.
pub async fn take_lease(client: &Client, job: &Job, split_points: &[String]) -> StepResult<Lease> {
    let taken = sql::JOBS_TAKE_LEASE
        .run(
            client,
            &[(&job.id.0, Type::UUID), (&job.attempt, Type::INT4), (&split_points, Type::TEXT_ARRAY)],
        )
        .await;
    match taken {
        Ok(1) => return Ok(Lease::Taken),
        Ok(_) => {}
        Err(error) if error.constraint() == Some("codes_import_jobs_merchant_lease") => {}
        Err(error) => return Err(error.into()),
    }
    let waiting = sql::JOBS_WAIT.run(client, &[(&job.id.0, Type::UUID), (&job.attempt, Type::INT4)]).await?;
    if waiting == 0 {
        let found = get(client, job.id).await?;
        // A ghost of this very step was quicker.
        if found.may_load(job.attempt) {
            return Ok(Lease::Taken);
        }
        return Err(found.refusal(job.attempt, Status::Pending));
    }
    Ok(Lease::Busy)
}

/// A job that is loading without split points (a retry of one that never opened) gets them.
pub async fn set_split_points(client: &Client, job: &Job, split_points: &[String]) -> DbResult<()> {
    sql::JOBS_SET_SPLIT_POINTS
        .run(
            client,
            &[(&job.id.0, Type::UUID), (&job.attempt, Type::INT4), (&split_points, Type::TEXT_ARRAY)],
        )
        .await
        .map(|_| ())
}

/// Makes the staging workspace of a loading job that has none.
pub async fn create_staging(connection: &mut Connection, job: &Job, buckets: usize) -> StepResult<()> {
    const NAME: &str = "open.staging";
    let tx = begin(connection, NAME, Limits::short()).await?;
    // The row first: two openings of one job take turns.
    let updated = sql::JOBS_STAGING_CREATED
        .run(tx.client(), &[(&job.id.0, Type::UUID), (&job.attempt, Type::INT4)])
        .await?;
    if updated == 0 {
        let found = get(tx.client(), job.id).await?;
        // Made by the other one, who may have begun to load: it must not be made anew.
        if found.may_load(job.attempt) && found.staging_created {
            return Ok(());
        }
        return Err(found.refusal(job.attempt, Status::Loading));
    }
    super::staging::create(&tx, job.id, buckets).await?;
    Ok(commit(tx, NAME).await?)
}

/// Records that staging is not what was committed and sends the job back to loading.
/// Returns the error that the state machine catches.
pub async fn staging_lost(db: &Database, job: JobId, attempt: i32, found: &str) -> StepError {
    let recorded = async {
        let connection = db.connection().await?;
        sql::JOBS_STAGING_LOST.opt(client(&connection), &[(&job.0, Type::UUID), (&attempt, Type::INT4)]).await
    };
    match recorded.await {
        Ok(_) => StepError::new(
            StepErrorKind::StagingLost,
            format!("staging of job {job} is incomplete ({found}); the files are loaded again"),
        ),
        Err(error) => error.into(),
    }
}

/// Records that production moved and sends the job back to checking.
pub async fn count_mismatch(db: &Database, job: JobId, attempt: i32, found: &str) -> StepError {
    let recorded = async {
        let connection = db.connection().await?;
        sql::JOBS_RECHECK.run(client(&connection), &[(&job.0, Type::UUID), (&attempt, Type::INT4)]).await
    };
    match recorded.await {
        Ok(_) => StepError::new(
            StepErrorKind::CountMismatch,
            format!("production moved since job {job} was marked ({found}); it is marked again"),
        ),
        Err(error) => error.into(),
    }
}

/// Faults found in files, for `validation_errors`.
pub async fn add_errors(client: &Client, job: JobId, attempt: i32, errors: &Value) -> DbResult<()> {
    sql::JOBS_ADD_ERRORS
        .run(client, &[(&job.0, Type::UUID), (&attempt, Type::INT4), (errors, Type::JSONB)])
        .await
        .map(|_| ())
}

/// The job of an execution, if it has one.
pub async fn of_execution(client: &Client, execution_arn: &str) -> DbResult<Option<(JobId, i32)>> {
    let row = sql::JOBS_BY_EXECUTION.opt(client, &[(&execution_arn, Type::TEXT)]).await?;
    Ok(row.map(|row| (JobId(row.get("id")), row.get("attempt"))))
}

/// One more fault, found while a file was loaded.
pub async fn append_error(client: &Client, job: JobId, attempt: i32, error: &Value) -> DbResult<()> {
    sql::JOBS_APPEND_ERROR
        .run(client, &[(&job.0, Type::UUID), (&attempt, Type::INT4), (error, Type::JSONB)])
        .await
        .map(|_| ())
}
