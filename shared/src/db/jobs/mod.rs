//! The row of an import: reading it, and saying why a step may not work on it.

mod close;
mod decide;
pub mod delay;
mod line;
mod open;
mod rollback;
mod start;
mod statements;
mod steps;
mod sweep;
mod view;

pub use close::{Closed, Ending, close, close_refused};
pub use decide::{
    Cancelled, approve, begin_mended, cancel, clear_staging, find_lease_holder, keep_turn, lock,
    record_mended, retry,
};
pub use line::{find_lost_wakes, hand_over, join_line, leave_line, record_woken, take_lease};
pub use open::{
    NewJob, Registered, add_errors, adopt, append_error, find_active_source, find_by_execution, freeze,
    freeze_again, is_active_source, register, set_source, set_split_points, set_staging_created,
};
pub use rollback::{RollbackState, find_rollback, record_rolled_back};
pub use start::{Entry, Start, find_holder, insert_queued, supersede};
pub use steps::{
    Identities, ValidatedCounts, await_approval, begin_checking, begin_inserting, begin_validating,
    count_merchant, find_identities, lock_staging, lose_staging, mark_again, record_inserted,
    record_verified, replace_token, save_validation,
};
pub use sweep::{
    UnfinishedJob, add_note, begin_next_attempt, expire_staging, take_overdue, take_stale_staging,
    take_unfinished,
};
pub use view::{Counts, FileTotals, Filter, JobView, Position, Share, find_view, list_views};

pub(super) use statements::STATEMENTS;

use super::connection::Session;
use super::decode::read_word;
use super::error::{DbError, DbResult};
use crate::domain::buckets::{self, Range};
use crate::domain::field::Mapping;
use crate::domain::ids::{JobId, MerchantId};
use crate::domain::phase::Phase;
use crate::domain::source::{Door, Options, SourceInfo};
use crate::domain::status::Status;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use crate::domain::token::TokenOrder;
use statements as sql;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

/// Ways back that a job may take before a person has to look.
pub const MAX_WAYS_BACK: i32 = 3;

/// What a step needs to know of its job.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job.
    pub id: JobId,
    /// Whose codes it imports.
    pub merchant: MerchantId,
    /// Its state.
    pub status: Status,
    /// Where it stands within its state.
    pub phase: Phase,
    /// The fencing token: it rises with every attempt.
    pub attempt: i32,
    /// A person asked it to stop.
    pub cancel_requested: bool,
    /// It was registered more than 24 hours ago.
    pub day_old: bool,
    /// What was asked, and through which door.
    pub source_info: SourceInfo,
    /// Every key that was asked for, until the files are frozen.
    pub files_asked: Option<Vec<String>>,
    /// The mapping that was asked for.
    pub mapping: Mapping,
    /// The options that were asked for.
    pub options: Options,
    /// Its files are frozen.
    pub frozen: bool,
    /// Its staging workspace exists.
    pub staging_created: bool,
    /// The codes that cut its staging into buckets.
    pub split_points: Option<Vec<String>>,
    /// The merchant's epoch when marking began.
    pub codes_epoch: Option<i64>,
    /// How often its staging was lost.
    pub restage_count: i32,
    /// How often production moved while it was checked.
    pub recheck_count: i32,
    /// More of it is duplicate than its options allow.
    pub blocked: bool,
    /// The execution that works on it.
    pub execution_arn: Option<String>,
    /// The token of the execution that waits for an approval or in line for the merchant.
    pub task_token: Option<String>,
    /// Which call brought the latest token.
    pub token_order: Option<TokenOrder>,
    /// Staged rows.
    pub staged: Option<i64>,
    /// Rows that are no duplicate.
    pub clean: Option<i64>,
    /// xor of the hashes of their codes.
    pub clean_checksum: Option<i64>,
    /// What the insert committed.
    pub inserted: Option<Inserted>,
    /// How many clean codes a person approved, while the approval stands.
    pub approved_clean: Option<i64>,
    /// How long inserting its clean codes will take; `None` before the pace of inserts is known.
    pub insert_estimate: Option<Duration>,
    /// Why it failed.
    pub error_message: Option<String>,
}

/// What the insert left on the job's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// Codes that it inserted.
    pub codes: i64,
    /// Clean codes that were in production by then.
    pub late: i64,
    /// xor of the hashes of the inserted codes; `None`: nobody has computed it.
    pub checksum: Option<i64>,
}

impl Job {
    fn read(row: &Row) -> DbResult<Self> {
        let inserted: bool = row.get("inserted");
        let max_rejects: i32 = row.get("max_rejects");
        Ok(Self {
            id: JobId(row.get("id")),
            merchant: MerchantId(row.get("merchant_id")),
            status: read_word(row, "status")?,
            phase: read_word(row, "phase")?,
            attempt: row.get("attempt"),
            cancel_requested: row.get("cancel_requested"),
            day_old: row.get("day_old"),
            source_info: read_source_info(row)?,
            files_asked: row.get("files_asked"),
            mapping: row.get::<_, Option<Json<Mapping>>>("mapping").map(|json| json.0).unwrap_or_default(),
            options: Options {
                max_duplicate_ratio: row.get("max_duplicate_ratio"),
                max_rejects: u32::try_from(max_rejects).unwrap_or_default(),
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
            token_order: row
                .get::<_, Option<_>>("token_entered_at")
                .zip(row.get("token_retry_count"))
                .map(|(entered_at, retry_count)| TokenOrder { entered_at, retry_count }),
            staged: row.get("staged"),
            clean: row.get("total_codes_to_insert"),
            clean_checksum: row.get("clean_checksum"),
            inserted: inserted.then(|| Inserted {
                codes: row.get("codes_inserted"),
                late: row.get::<_, Option<_>>("late_duplicates").unwrap_or_default(),
                checksum: row.get("codes_checksum"),
            }),
            approved_clean: row.get("approved_clean"),
            insert_estimate: row
                .get::<_, Option<f64>>("insert_estimate_seconds")
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            error_message: row.get("error_message"),
        })
    }

    /// Whether it was made before the adoption of the table: then nothing but its codes can be counted.
    pub fn is_adopted(&self) -> bool {
        self.source_info.door == Some(Door::Adoption)
    }

    /// How many buckets its staging has.
    pub fn buckets(&self) -> usize {
        self.split_points.as_ref().map_or(1, |points| points.len() + 1)
    }

    /// The ranges of codes of its buckets.
    pub fn bucket_ranges(&self) -> Vec<Range> {
        let all = Range { lower: None, upper: None };
        buckets::ranges(&all, self.split_points.as_deref().unwrap_or_default())
    }

    /// Whether this attempt may load files.
    pub fn may_load(&self, attempt: i32) -> bool {
        self.attempt == attempt && self.status == Status::Loading && !self.cancel_requested
    }

    /// Whether the job has the token of a later call of its waiting state, or this very one: then nobody awaits the call's answer.
    pub fn is_overtaken(&self, attempt: i32, by: Option<TokenOrder>) -> bool {
        self.attempt == attempt && self.token_order.is_some() && self.token_order >= by
    }

    /// Why a step that expected `expected` in `attempt` may not write.
    pub fn refusal(&self, attempt: i32, expected: Status) -> StepError {
        let refuse = |kind, message: &str| StepError::new(kind, format!("job {}: {message}", self.id));
        if self.attempt == attempt + 1 && self.phase == Phase::StagingLost {
            return refuse(StepErrorKind::StagingLost, "staging was lost; the next attempt loads again");
        }
        if self.attempt != attempt {
            return refuse(StepErrorKind::Superseded, "another attempt is at work");
        }
        if self.cancel_requested || self.status == Status::Cancelled {
            return refuse(StepErrorKind::Cancelled, "the import was cancelled");
        }
        match (self.status, expected) {
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

fn read_source_info(row: &Row) -> DbResult<SourceInfo> {
    let info = row.try_get::<_, Json<SourceInfo>>("source_info");
    info.map(|info| info.0).map_err(|error| DbError::postgres("jobs.read", error))
}

/// Reads a job.
pub async fn find(on: &dyn Session, job: JobId) -> DbResult<Option<Job>> {
    sql::FIND.opt(on, &[&job]).await?.as_ref().map(Job::read).transpose()
}

/// Reads a job that must exist.
pub async fn get(on: &dyn Session, job: JobId) -> StepResult<Job> {
    find(on, job).await?.ok_or_else(|| StepError::invalid(format!("there is no import job {job}")))
}

/// Reads a job and checks that the step may work on it.
pub async fn expect(on: &dyn Session, job: JobId, attempt: i32, expected: Status) -> StepResult<Job> {
    let found = get(on, job).await?;
    if found.attempt != attempt || found.status != expected || found.cancel_requested {
        return Err(found.refusal(attempt, expected));
    }
    Ok(found)
}

/// Says why a guarded UPDATE wrote no row.
pub async fn explain_refusal(on: &dyn Session, job: JobId, attempt: i32, expected: Status) -> StepError {
    match get(on, job).await {
        Ok(found) => found.refusal(attempt, expected),
        Err(error) => error,
    }
}

/// Locks the job's row until the transaction ends. Superseding, retrying and cancelling update that row: they wait, or
/// this refuses.
pub async fn fence(on: &dyn Session, job: JobId, attempt: i32, status: Status) -> StepResult<()> {
    match sql::FENCE.opt(on, &[&job, &attempt, &status]).await? {
        Some(_) => Ok(()),
        None => Err(explain_refusal(on, job, attempt, status).await),
    }
}
