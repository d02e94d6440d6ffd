//! Validates an import: adds its chunks up, looks at staging and production again, and decides. Where the very codes are clean that a
//! person has approved before, the import goes on to insert them. Called with a task token, this parks the job until a person approves.

mod decide;
mod recheck;
mod wait;

use recheck::Recheck;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::db::chunks::{self, ChunkState};
use shared::db::jobs::{self, Job, ValidatedCounts};
use shared::db::progress::Watch;
use shared::db::{Connection, Database, DbResult, SPLIT, files, within_budget};
use shared::domain::ids::JobId;
use shared::domain::late::is_too_late;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepResult};
use shared::domain::token::{TaskToken, TokenOrder};
use shared::lambda::deliver::deliver;
use shared::lambda::{App, Budget};
use std::time::Duration;

/// One attempt of a job; with a token, the wait for its approval.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    pub attempt: i32,
    #[serde(default)]
    pub task_token: Option<String>,
    /// Which call of the waiting state brings the token.
    #[serde(default)]
    pub token_order: Option<TokenOrder>,
}

/// The decision, or that the job waits.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Output {
    Validated(Validation),
    Waiting { job_id: JobId, status: Status },
}

/// What validation decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Validation {
    pub valid: bool,
    pub total_clean_codes: i64,
    pub validation_errors: usize,
    pub errors: Vec<String>,
    pub new_db_duplicates_found: i64,
    pub blocked: bool,
    /// A person approved these very codes before staging was lost or production changed: they are inserted.
    pub approval_stands: bool,
    pub mark: MarkTotals,
}

/// The totals of the marking. The names are those that operators' scripts know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MarkTotals {
    pub success: bool,
    pub total_rows: i64,
    pub internal_duplicates: i64,
    pub database_duplicates: i64,
    pub both_duplicates: i64,
    pub clean_count: i64,
    pub chunks_processed: usize,
}

/// How many connections to the database it holds. Two look at half of the chunks each, one beats.
pub const CONNECTIONS: usize = 3;

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let Input { job_id, attempt, task_token, token_order: order } = input;
    let Some(token) = task_token else {
        return validate(&app.db, job_id, attempt, budget.left()).await.map(Output::Validated);
    };
    let token = TaskToken { token: &token, order };
    let promises = wait::await_approval(&app.db, job_id, attempt, token).await?;
    deliver(&app, promises).await;
    Ok(Output::Waiting { job_id, status: Status::AwaitingApproval })
}

async fn validate(db: &Database, job_id: JobId, attempt: i32, time_left: Duration) -> StepResult<Validation> {
    let (job, marked) = match begin(db, job_id, attempt).await? {
        Begun::ToDo(job, marked) => (*job, marked),
        Begun::Before(validation) => return Ok(validation),
    };
    let _watch = Watch::of_step(db, &job, None);
    let found = recheck::recheck(db, &job, &marked, time_left).await;
    let new = match within_budget("looking at staging again", SPLIT, found)? {
        Recheck::Done(new) => new,
        Recheck::StagingLost(found) => return Err(jobs::lose_staging(db, job_id, attempt, &found).await),
    };
    let mark = decide::add_up(&marked);
    if is_too_late(new, mark.clean_count) {
        let found = format!("{new} of {} clean codes are in production by now", mark.clean_count);
        return Err(jobs::mark_again(db, job_id, attempt, &found).await);
    }
    let connection = db.connection().await?;
    let loaded = files::list(&connection, job_id).await?;
    let validation = decide::decide(&job.options, mark, &loaded, new);
    let saved = save(&connection, job_id, attempt, &validation, decide::xor_checksums(&marked)).await?;
    let Some(approval_stands) = saved else { return find_answer(&connection, job_id, attempt).await };
    if !validation.valid {
        let errors = validation.errors.join("; ");
        return Err(StepError::internal(format!("staging of job {job_id} is not consistent: {errors}")));
    }
    Ok(Validation { approval_stands, ..validation })
}

/// How the step begins.
enum Begun {
    /// With the job, and its chunks, all of them marked.
    ToDo(Box<Job>, Vec<ChunkState>),
    /// It was done before, with this answer.
    Before(Validation),
}

/// `checking -> validating`.
async fn begin(db: &Database, job_id: JobId, attempt: i32) -> StepResult<Begun> {
    let connection = db.connection().await?;
    if !jobs::begin_validating(&connection, job_id, attempt).await? {
        return find_answer(&connection, job_id, attempt).await.map(Begun::Before);
    }
    let job = jobs::get(&connection, job_id).await?;
    let states = chunks::list(&connection, &job).await?;
    match states.iter().find(|state| !state.is_marked()) {
        None => Ok(Begun::ToDo(Box::new(job), states)),
        Some(open) => {
            let number = open.chunk.number;
            Err(StepError::internal(format!("chunk {number} of job {job_id} is not marked")))
        }
    }
}

/// The answer of an earlier call of this step that has found an approval which stands: its codes are being inserted. Else why this
/// call may write nothing.
async fn find_answer(connection: &Connection, job_id: JobId, attempt: i32) -> StepResult<Validation> {
    let job = jobs::get(connection, job_id).await?;
    if job.attempt != attempt || job.status != Status::Processing || job.cancel_requested {
        return Err(job.refusal(attempt, Status::Validating));
    }
    let mark = decide::add_up(&chunks::list(connection, &job).await?);
    let loaded = files::list(connection, job_id).await?;
    let validation = decide::decide(&job.options, mark, &loaded, 0);
    Ok(Validation { approval_stands: true, ..validation })
}

/// `Some(true)`: an approval stands. `None`: somebody else decided.
async fn save(
    connection: &Connection,
    job_id: JobId,
    attempt: i32,
    validation: &Validation,
    checksum: i64,
) -> DbResult<Option<bool>> {
    let mark = &validation.mark;
    let counts = ValidatedCounts {
        internal: mark.internal_duplicates,
        existing: mark.database_duplicates,
        both: mark.both_duplicates,
        clean: mark.clean_count,
        checksum,
        blocked: validation.blocked,
        valid: validation.valid,
    };
    jobs::save_validation(connection, job_id, attempt, &counts, &json!(validation.errors)).await
}
