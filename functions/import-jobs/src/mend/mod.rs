//! Mends an import: replaces one of its files by another object, or leaves it out. While another file is still failed, the
//! import stays failed; the mend of the last one begins the next attempt, which loads only what is not loaded.
//!
//! Files, fingerprint, leases, attempt and messages change in one transaction. The rows that are staged of the file are
//! deleted later, by the load that the new attempt makes of it: a loader of an older attempt can't commit any more.

pub(crate) mod routes;

use crate::decide::{Decision, merchant_busy};
use shared::db::files::{self, ImportFile, Replaced};
use shared::db::jobs::{self, Job};
use shared::db::outbox::{Message, Promises};
use shared::db::user_profiles::{self, Hold};
use shared::db::{DbResult, Guarded, Transaction, merchants};
use shared::domain::actor::Actor;
use shared::domain::fault::summarize;
use shared::domain::ids::JobId;
use shared::domain::object::FrozenObject;
use shared::domain::status::Status;
use shared::source::resolve::fingerprint;

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This object takes its place.
    Replace(FrozenObject),
    /// The import goes on without it.
    LeaveOut,
}

/// What became of a mend. Unless it is `Taken`, the transaction must be rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// As of every decision about the import.
    Decided(Decision),
    /// Another file of the import has the key.
    KeyTaken,
    /// The import has no other file.
    LastFile,
}

impl From<Decision> for Mended {
    fn from(decision: Decision) -> Self {
        Self::Decided(decision)
    }
}

/// Mends one file of a job that is failed or waits for approval.
pub async fn mend(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    file_no: i32,
    change: &Change,
) -> DbResult<Mended> {
    // Lock order: user, merchant, job, files. Whoever returns the lease holds the line, and waits for the job.
    user_profiles::lock(tx, job).await?;
    merchants::lock_line_of(tx, job).await?;
    if !jobs::lock(tx, actor, job).await? {
        return Ok(Decision::NotFound.into());
    }
    let (Some(found), Some(file)) = (jobs::find(tx, job).await?, files::find(tx, job, file_no).await?) else {
        return Ok(Decision::NotFound.into());
    };
    if !matches!(found.status, Status::Failed | Status::AwaitingApproval) {
        // A double click: it was mended so before, and the attempt is under way.
        let same = found.status == Status::Loading && is_mended(&file, change);
        let taken = Decision::Taken { promises: Promises::none() };
        return Ok(if same { taken } else { Decision::WrongState(found.status) }.into());
    }
    match change {
        Change::Replace(object) => {
            if files::replace(tx, job, file_no, object).await? == Replaced::KeyTaken {
                return Ok(Mended::KeyTaken);
            }
        }
        Change::LeaveOut if file.is_left_out() => {
            return Ok(Decision::Taken { promises: Promises::none() }.into());
        }
        Change::LeaveOut => {
            if !files::leave_out(tx, job, file_no).await? {
                return Ok(Mended::LastFile);
            }
        }
    }
    let sources = files::list_sources(tx, job).await?;
    let fingerprint = fingerprint(&sources, &found.mapping);
    let faults = files::list_faults(tx, job).await?;
    if faults.is_empty() {
        return Ok(begin(tx, actor, &found, &fingerprint).await?.into());
    }
    let message = format!("{}; replace these or leave them out", summarize(&faults, sources.len()));
    jobs::record_mended(tx, job, &fingerprint, &message, &file.object.key).await?;
    Ok(Decision::Taken { promises: Promises::none() }.into())
}

/// Whether the file is already what it is to become.
fn is_mended(file: &ImportFile, change: &Change) -> bool {
    match change {
        Change::Replace(object) => file.replaces.is_some() && file.object == *object,
        Change::LeaveOut => file.is_left_out(),
    }
}

/// Begins the next attempt. The execution that waits for an approval of what the import was before is stopped.
async fn begin(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    before: &Job,
    fingerprint: &str,
) -> DbResult<Decision> {
    let job = before.id;
    if let Hold::Busy(by) = user_profiles::hold(tx, job, actor).await? {
        return Ok(Decision::UserBusy { by });
    }
    let attempt = match jobs::begin_mended(tx, actor, job, fingerprint).await? {
        Guarded::Done(attempt) => attempt,
        Guarded::NotAllowed => return Ok(Decision::WrongState(before.status)),
        Guarded::MerchantBusy => return merchant_busy(tx, job).await,
        Guarded::SourceActive => return Ok(Decision::SourceActive),
    };
    let mut promises = Promises::none();
    if before.status == Status::AwaitingApproval
        && let Some(execution_arn) = before.execution_arn.clone()
    {
        promises.promise(tx, job, &Message::StopExecution { execution_arn }).await?;
    }
    promises.promise(tx, job, &Message::StartExecution { attempt }).await?;
    Ok(Decision::Taken { promises })
}
