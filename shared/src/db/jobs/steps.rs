//! The steps of an import: each change of its state is one guarded UPDATE.

use super::{Inserted, get, statements as sql};
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::pool::Database;
use crate::db::statement::Statement;
use crate::db::transaction::Transaction;
use crate::domain::ids::JobId;
use crate::domain::status::Status;
use crate::domain::step::{StepError, StepErrorKind};
use crate::domain::token::TaskToken;
use serde_json::Value;
use std::time::Duration;

/// `loading -> checking`, or `checking` anew after `mark_again`: sums the files up and notes the merchant's epoch.
/// `false`: somebody else decided.
pub async fn begin_checking(on: &dyn Session, job: JobId, attempt: i32) -> DbResult<bool> {
    sql::CHECKING.run_guarded(on, &[&job, &attempt]).await
}

/// Records that staging is not what was committed, sends the job back to loading and promises the start of its next attempt.
/// Returns the error that the state machine catches.
pub async fn lose_staging(db: &Database, job: JobId, attempt: i32, found: &str) -> StepError {
    let recorded = async {
        let connection = db.connection().await?;
        match sql::STAGING_LOST.opt(&connection, &[&job, &attempt]).await? {
            Some(_) => Ok(StepError::new(
                StepErrorKind::StagingLost,
                format!(
                    "staging of job {job} is incomplete ({found}); the next attempt loads the files again"
                ),
            )),
            // Of several chunks that notice the same loss, one records it. Or somebody else decided.
            None => Ok::<_, StepError>(get(&connection, job).await?.refusal(attempt, Status::Checking)),
        }
    };
    recorded.await.unwrap_or_else(|error| error)
}

/// Records that production moved and sends the job back to checking.
/// Returns the error that the state machine catches.
pub async fn mark_again(db: &Database, job: JobId, attempt: i32, found: &str) -> StepError {
    let recorded = async {
        let connection = db.connection().await?;
        // No row: a ghost of the step has recorded it, or somebody else decided; the next step finds out which.
        sql::RECHECK.run_guarded(&connection, &[&job, &attempt]).await
    };
    match recorded.await {
        Ok(_) => StepError::new(
            StepErrorKind::CountMismatch,
            format!("production moved since job {job} was marked ({found}); it is marked again"),
        ),
        Err(error) => error.into(),
    }
}

/// `checking -> validating`. `false`: somebody else decided.
pub async fn begin_validating(on: &dyn Session, job: JobId, attempt: i32) -> DbResult<bool> {
    sql::VALIDATING.run_guarded(on, &[&job, &attempt]).await
}

/// What validation writes to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidatedCounts {
    /// Second and later occurrences in the files.
    pub internal: i64,
    /// Codes that were in production.
    pub existing: i64,
    /// Both.
    pub both: i64,
    /// Neither.
    pub clean: i64,
    /// xor of the hashes of the clean codes.
    pub checksum: i64,
    /// More is duplicate than the options allow.
    pub blocked: bool,
    /// Every sum is right.
    pub valid: bool,
}

/// Keeps what validation found. `Some(true)`: an approval of these very codes stands, and they are being inserted:
/// `validating -> processing`. `None`: somebody else decided.
pub async fn save_validation(
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    counts: &ValidatedCounts,
    errors: &Value,
) -> DbResult<Option<bool>> {
    let saved = sql::VALIDATED
        .opt(
            on,
            &[
                &job,
                &attempt,
                &counts.internal,
                &counts.existing,
                &counts.both,
                &counts.clean,
                &counts.checksum,
                &counts.blocked,
                &counts.valid,
                errors,
            ],
        )
        .await?;
    Ok(saved.map(|row| row.get("stands")))
}

/// `validating -> awaiting_approval` with the token that wakes the execution. The merchant's lease goes to the next in line.
/// `false`: somebody else decided, or a later call has brought a token.
pub async fn await_approval(
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    token: TaskToken<'_>,
) -> DbResult<bool> {
    bring(&sql::AWAIT_APPROVAL, on, job, attempt, token).await
}

/// Keeps a new token for a job that was approved while its waiting task was repeated. `false`: it was not, or a later call has
/// brought a token.
pub async fn replace_token(
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    token: TaskToken<'_>,
) -> DbResult<bool> {
    bring(&sql::REPLACE_TOKEN, on, job, attempt, token).await
}

async fn bring(
    statement: &Statement,
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    token: TaskToken<'_>,
) -> DbResult<bool> {
    let (entered_at, retry_count) = token.order_columns();
    statement.run_guarded(on, &[&job, &attempt, &token.token, &entered_at, &retry_count]).await
}

/// The execution is awake and inserts: nobody needs its token any more. `false`: somebody else decided.
pub async fn begin_inserting(on: &dyn Session, job: JobId, attempt: i32) -> DbResult<bool> {
    sql::INSERTING.run_guarded(on, &[&job, &attempt]).await
}

/// The last statement of the insert: it decides whether the codes are in. `false`: cancelled, superseded, or inserted
/// before.
pub async fn record_inserted(
    on: &dyn Session,
    job: JobId,
    attempt: i32,
    inserted: Inserted,
) -> DbResult<bool> {
    let Inserted { codes, late, checksum } = inserted;
    sql::INSERTED.run_guarded(on, &[&job, &attempt, &codes, &late, &checksum]).await
}

/// Takes the staging of an import that is over until the transaction ends, to make it again. `false`: another transaction does.
pub async fn lock_staging(tx: &Transaction<'_>, job: JobId) -> DbResult<bool> {
    sql::LOCK_STAGING.one(tx, &[&job]).await.map(|row| row.get("locked"))
}

/// Keeps what verification found. `false`: the job was rolled back meanwhile.
pub async fn record_verified(on: &dyn Session, job: JobId, verification: &Value) -> DbResult<bool> {
    sql::VERIFIED.run_guarded(on, &[&job, verification]).await
}

/// Whether the sums of an import agree; `None` where a count is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identities {
    /// `records = staged + rejected + skipped`.
    pub records_add_up: Option<bool>,
    /// `staged = inserted + internal + existing - both + late`.
    pub staged_add_up: Option<bool>,
    /// The rejects that have a row, and those that were counted by reason, are as many as the files say.
    pub rejects_kept: Option<bool>,
    /// The files' counts are the job's.
    pub files_add_up: Option<bool>,
    /// The chunks' counts are the job's.
    pub chunks_add_up: Option<bool>,
}

/// Compares the sums of an import with what they were made of.
pub async fn find_identities(on: &dyn Session, job: JobId) -> DbResult<Identities> {
    let row = sql::IDENTITIES.one(on, &[&job]).await?;
    Ok(Identities {
        records_add_up: row.get("records_add_up"),
        staged_add_up: row.get("staged_add_up"),
        rejects_kept: row.get("rejects_kept"),
        files_add_up: row.get("files_add_up"),
        chunks_add_up: row.get("chunks_add_up"),
    })
}

/// Notes how many codes the merchant has now. Cheap after a VACUUM: the index alone is read.
pub async fn count_merchant(db: &Database, job: JobId, time_left: Duration) -> DbResult<()> {
    let connection = db.connection().await?;
    sql::MERCHANT_TOTAL.run_one(&connection.with_patience(time_left), &[&job]).await
}
