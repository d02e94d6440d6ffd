//! Asks for maintenance of an import that has ended or waits: roll it back, verify it again, export, clear its staging.
//! One guarded statement decides each, and the message that starts the execution is promised in the same transaction.

pub mod preview;
pub(crate) mod routes;

use shared::db::outbox::Promises;
use shared::db::{DbError, DbResult, Guarded, Session, Transaction, jobs, staging, tasks};
use shared::domain::actor::Actor;
use shared::domain::ids::{JobId, TaskId};
use shared::domain::status::Status;
use shared::domain::task::{Action, ClaimedCodes, ExportKind};

/// What became of a request. Unless it is `Taken` or `UnderWay`, the transaction must be rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It will be done, or clearing is done.
    Taken {
        /// Messages to deliver after the commit.
        promises: Promises,
    },
    /// The same was asked for before and is under way.
    UnderWay,
    /// There is no such job, or it is not one of the actor's merchants'.
    NotFound,
    /// Another import of the merchant works.
    MerchantBusy {
        /// Its job, unless it has just ended.
        by: Option<JobId>,
    },
    /// The job's state doesn't allow it.
    WrongState(Status),
    /// The job is being rolled back.
    RollingBack,
    /// The job's staging is gone, and with it what would be exported.
    StagingCleared,
    /// The job ended before its duplicates were marked.
    NotMarked(Status),
    /// An export reads the staging.
    Exporting,
}

/// Takes a completed job's merchant for a rollback, and promises the execution that deletes the job's codes.
pub async fn ask_rollback(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    claimed: ClaimedCodes,
) -> DbResult<Asked> {
    match tasks::ask_rollback(tx, actor, job, claimed).await? {
        Guarded::Done(task) => promise(tx, job, task, Action::Rollback).await,
        Guarded::NotAllowed => {
            let active = tasks::find_active(tx, job, Action::Rollback, None).await?;
            explain(tx, actor, job, |status| match active {
                // A rollback that treats claimed codes otherwise is not the same.
                Some(active) if active.claimed == Some(claimed) => Asked::UnderWay,
                Some(_) => Asked::RollingBack,
                None => Asked::WrongState(status),
            })
            .await
        }
        Guarded::MerchantBusy => Ok(Asked::MerchantBusy { by: jobs::find_lease_holder(tx, job).await? }),
        Guarded::SourceActive => {
            Err(DbError::defect("tasks.ask_rollback", "a job that is over was refused as one that is active"))
        }
    }
}

/// Promises another verification of a completed job.
pub async fn ask_verify(on: &dyn Session, actor: &Actor, job: JobId) -> DbResult<Asked> {
    if let Some(task) = tasks::ask_verify(on, actor, job).await? {
        return promise(on, job, task, Action::Verify).await;
    }
    let is_under_way = tasks::find_active(on, job, Action::Verify, None).await?.is_some();
    let is_rolling_back = tasks::find_active(on, job, Action::Rollback, None).await?.is_some();
    explain(on, actor, job, |status| match status {
        Status::Completed if is_rolling_back => Asked::RollingBack,
        Status::Completed if is_under_way => Asked::UnderWay,
        status => Asked::WrongState(status),
    })
    .await
}

/// Promises an export.
pub async fn ask_export(on: &dyn Session, actor: &Actor, job: JobId, kind: ExportKind) -> DbResult<Asked> {
    if let Some(task) = tasks::ask_export(on, actor, job, kind).await? {
        return promise(on, job, task, Action::Export).await;
    }
    let is_under_way = tasks::find_active(on, job, Action::Export, Some(kind)).await?.is_some();
    let is_staged = jobs::find(on, job).await?.is_some_and(|job| job.staging_created);
    explain(on, actor, job, |status| match status {
        _ if is_under_way => Asked::UnderWay,
        status if !status.is_final() && status != Status::AwaitingApproval => Asked::WrongState(status),
        status if is_staged => Asked::NotMarked(status),
        _ => Asked::StagingCleared,
    })
    .await
}

/// Drops the staging of a job that is over, in this transaction. Called again, it finds nothing to do.
pub async fn clear_staging(tx: &Transaction<'_>, actor: &Actor, job: JobId) -> DbResult<Asked> {
    if !jobs::clear_staging(tx, actor, job).await? {
        return explain(tx, actor, job, |status| {
            if status.is_final() { Asked::Exporting } else { Asked::WrongState(status) }
        })
        .await;
    }
    match staging::tables::drop_all(tx, job).await {
        Ok(()) => Ok(Asked::Taken { promises: Promises::none() }),
        // Somebody reads the tables: an export whose task was given up, or a person.
        Err(error) if error.is_lock_timeout() => Ok(Asked::Exporting),
        Err(error) => Err(error),
    }
}

async fn promise(on: &dyn Session, job: JobId, task: TaskId, action: Action) -> DbResult<Asked> {
    Ok(Asked::Taken { promises: tasks::promise_start(on, job, task, action).await? })
}

/// Says why nothing was written: by the job's state, if the actor may see the job.
async fn explain(
    on: &dyn Session,
    actor: &Actor,
    job: JobId,
    why: impl FnOnce(Status) -> Asked,
) -> DbResult<Asked> {
    let found = jobs::find(on, job).await?.filter(|found| actor.merchants.contains(&found.merchant));
    Ok(found.map_or(Asked::NotFound, |found| why(found.status)))
}
