//! Adding up, looking at staging and production once more, and deciding; then waiting for a person.

use super::error::{DbError, DbResult};
use super::pool::{Database, client};
use super::staging::{self, Rechecked};
use super::transaction::{Limits, begin, commit};
use super::{chunks, files, jobs, outbox, sql};
use crate::domain::ids::JobId;
use crate::domain::job::Status;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio_postgres::types::Type;

/// More late duplicates than this share of the clean codes ask for a new marking and a new approval.
pub const MAX_LATE_SHARE: f64 = 0.01;

const NAME: &str = "validate";

/// The totals of the marking, by the names that operators' scripts know.
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

/// What validation decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    pub valid: bool,
    pub total_clean_codes: i64,
    pub validation_errors: usize,
    pub errors: Vec<String>,
    pub new_db_duplicates_found: i64,
    pub blocked: bool,
    pub mark: MarkTotals,
}

/// `checking -> validating`, adds up and decides.
pub async fn validate(
    db: &Database,
    job_id: JobId,
    attempt: i32,
    time_left: Duration,
) -> StepResult<Validation> {
    let connection = db.connection().await?;
    let moved = sql::JOBS_VALIDATING
        .run(client(&connection), &[(&job_id.0, Type::UUID), (&attempt, Type::INT4)])
        .await?;
    if moved == 0 {
        return Err(jobs::refusal(client(&connection), job_id, attempt, Status::Validating).await);
    }
    let job = jobs::get(client(&connection), job_id).await?;
    let states = chunks::list(client(&connection), &job).await?;
    if let Some(open) = states.iter().find(|state| !state.marked) {
        return Err(StepError::internal(format!(
            "chunk {} of job {job_id} is not marked",
            open.chunk.number
        )));
    }

    // What comes next takes both connections.
    drop(connection);
    let mut errors = Vec::new();
    let mut new_duplicates = 0;
    let mut lost = None;
    for (state, seen) in states.iter().zip(look_again(db, &job, &states, time_left).await?) {
        let Some(seen) = seen else {
            lost = Some("a table is gone".to_owned());
            break;
        };
        if seen.rows != state.staged {
            lost = Some(format!(
                "chunk {} has {} rows, {} were committed",
                state.chunk.number, seen.rows, state.staged
            ));
            break;
        }
        if seen.invalid > 0 {
            errors.push(format!("chunk {}: {} staged rows break a rule", state.chunk.number, seen.invalid));
        }
        new_duplicates += (seen.existing - state.existing).max(0);
    }
    if let Some(found) = lost {
        return Err(jobs::staging_lost(db, job_id, attempt, &found).await);
    }

    let sum = |of: fn(&chunks::ChunkState) -> i64| states.iter().map(of).sum::<i64>();
    let mark = MarkTotals {
        success: true,
        total_rows: sum(|s| s.staged),
        internal_duplicates: sum(|s| s.internal),
        database_duplicates: sum(|s| s.existing),
        both_duplicates: sum(|s| s.both),
        clean_count: sum(|s| s.clean),
        chunks_processed: states.len(),
    };
    if too_late(new_duplicates, mark.clean_count) {
        let found = format!("{new_duplicates} of {} clean codes are in production by now", mark.clean_count);
        return Err(jobs::count_mismatch(db, job_id, attempt, &found).await);
    }
    let connection = db.connection().await?;
    let loaded = files::list(client(&connection), job_id).await?;
    let staged: i64 = loaded.iter().filter_map(|file| file.counts).map(|counts| counts.staged).sum();
    if staged != mark.total_rows {
        errors.push(format!("the files say {staged} staged rows, the chunks {}", mark.total_rows));
    }
    let duplicates = mark.total_rows - mark.clean_count;
    let blocked = exceeds(duplicates, mark.total_rows, job.options.max_duplicate_ratio);
    let checksum = states.iter().fold(0, |xor, state| xor ^ state.clean_checksum);
    let validation = Validation {
        valid: errors.is_empty(),
        total_clean_codes: mark.clean_count,
        validation_errors: errors.len(),
        errors,
        new_db_duplicates_found: new_duplicates,
        blocked,
        mark,
    };
    save(client(&connection), job_id, attempt, &validation, checksum).await?;
    if !validation.valid {
        return Err(StepError::internal(format!(
            "staging of job {job_id} is not consistent: {}",
            validation.errors.join("; ")
        )));
    }
    Ok(validation)
}

/// Looks at every chunk again, half of them on each of two connections. `None`: its staging is gone.
async fn look_again(
    db: &Database,
    job: &jobs::Job,
    states: &[chunks::ChunkState],
    time_left: Duration,
) -> DbResult<Vec<Option<Rechecked>>> {
    let half = async |of: &[chunks::ChunkState]| -> DbResult<Vec<Option<Rechecked>>> {
        let mut connection = db.connection().await?;
        let tx = begin(&mut connection, NAME, Limits::bulk(time_left)).await?;
        let mut seen = Vec::with_capacity(of.len());
        for state in of {
            seen.push(match staging::recheck(tx.client(), job.id, job.merchant.0, &state.chunk).await {
                Ok(rechecked) => Some(rechecked),
                // The transaction is at its end, and so is this attempt of the import.
                Err(error) if error.is_missing_table() => return Ok(vec![None; of.len()]),
                Err(error) => return Err(error),
            });
        }
        Ok(seen)
    };
    let (first, second) = states.split_at(states.len() / 2);
    let (mut seen, rest) = tokio::try_join!(half(first), half(second))?;
    seen.extend(rest);
    Ok(seen)
}

async fn save(
    client: &tokio_postgres::Client,
    job: JobId,
    attempt: i32,
    validation: &Validation,
    checksum: i64,
) -> StepResult<()> {
    let mark = &validation.mark;
    let saved = sql::JOBS_VALIDATED
        .run(
            client,
            &[
                (&job.0, Type::UUID),
                (&attempt, Type::INT4),
                (&mark.internal_duplicates, Type::INT8),
                (&mark.database_duplicates, Type::INT8),
                (&mark.both_duplicates, Type::INT8),
                (&mark.clean_count, Type::INT8),
                (&checksum, Type::INT8),
                (&validation.blocked, Type::BOOL),
                (&validation.valid, Type::BOOL),
                (&json!(validation.errors), Type::JSONB),
            ],
        )
        .await?;
    if saved == 0 {
        return Err(jobs::refusal(client, job, attempt, Status::Validating).await);
    }
    Ok(())
}

/// Whether so many late duplicates are more than an approval covers.
pub fn too_late(late: i64, clean: i64) -> bool {
    exceeds(late, clean, MAX_LATE_SHARE)
}

// Counts are far below 2^53, where f64 is exact.
#[allow(clippy::cast_precision_loss)]
fn exceeds(part: i64, whole: i64, share: f64) -> bool {
    part as f64 > whole as f64 * share
}

/// `validating -> awaiting_approval` with the token that wakes the execution: one UPDATE, which also gives the
/// merchant's lease back. Returns the outbox message that announces the wait.
pub async fn await_approval(db: &Database, job_id: JobId, attempt: i32, token: &str) -> StepResult<Vec<i64>> {
    const NAME: &str = "validate.await";
    let mut connection = db.connection().await?;
    let tx = begin(&mut connection, NAME, Limits::short()).await?;
    let params = &[(&job_id.0 as _, Type::UUID), (&attempt as _, Type::INT4), (&token as _, Type::TEXT)];
    super::claims::lock_user(tx.client(), job_id).await?;
    let waiting = sql::JOBS_AWAIT_APPROVAL.run(tx.client(), params).await?;
    let message = if waiting == 1 {
        outbox::add(tx.client(), job_id, &outbox::Message::StateChanged).await?
    } else if sql::JOBS_REPLACE_TOKEN.run(tx.client(), params).await? == 1 {
        outbox::add(tx.client(), job_id, &outbox::Message::TaskSuccess { attempt }).await?
    } else {
        return Err(jobs::refusal(tx.client(), job_id, attempt, Status::Validating).await);
    };
    commit(tx, NAME).await?;
    Ok(vec![message])
}

impl From<tokio::time::error::Elapsed> for DbError {
    fn from(elapsed: tokio::time::error::Elapsed) -> Self {
        DbError::new("timeout", elapsed)
    }
}

/// The error for a chunk that can't be finished in time.
pub fn out_of_time(what: &str) -> StepError {
    StepError::new(StepErrorKind::TimeBudgetExceeded, format!("{what}; split the import into smaller ones"))
}
