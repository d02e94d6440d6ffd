//! What people ask of an import that is over or waits: roll it back, verify it again, export, clear its staging.
//! One guarded statement each, and the message that starts the execution in the same transaction.

use super::decisions::Actor;
use super::error::DbResult;
use super::rows::Param;
use super::transaction::Transaction;
use super::{DbError, sql, staging, tasks};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::job::Status;
use crate::domain::task::{Action, Claimed, ExportKind};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// What became of a request. `messages` are outbox rows to deliver once it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Taken {
        messages: Vec<i64>,
    },
    /// The same was asked before and is under way.
    UnderWay,
    /// No such job, or not one of the actor's merchants.
    NotFound,
    /// Another import of the merchant works.
    MerchantBusy {
        by: Option<JobId>,
    },
    /// The job's state doesn't allow it.
    WrongState(Status),
    /// It is being rolled back.
    RollingBack,
    /// Its staging is gone, and with it what would be exported.
    StagingCleared,
    /// It ended before its duplicates were marked.
    NotMarked(Status),
    /// An export reads the staging.
    Exporting,
}

fn merchant_ids(actor: &Actor) -> Vec<Uuid> {
    actor.merchants.iter().map(|merchant| merchant.0).collect()
}

/// Takes a completed job's merchant and promises the execution that deletes its codes.
pub async fn ask_rollback(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    claimed: Claimed,
) -> DbResult<Asked> {
    let savepoint =
        tx.savepoint("ask_rollback").await.map_err(|e| DbError::new("ask_rollback.savepoint", e))?;
    let merchants = merchant_ids(actor);
    let params: &[Param<'_>] = &[
        (&job.0, Type::UUID),
        (&merchants, Type::UUID_ARRAY),
        (&actor.user.0, Type::UUID),
        (&claimed.as_str(), Type::TEXT),
    ];
    match sql::TASKS_ASK_ROLLBACK.opt(savepoint.client(), params).await {
        Ok(Some(row)) => {
            savepoint.commit().await.map_err(|e| DbError::new("ask_rollback.release", e))?;
            taken(tx.client(), job, TaskId(row.get("id")), Action::Rollback).await
        }
        Ok(None) => {
            savepoint.commit().await.map_err(|e| DbError::new("ask_rollback.release", e))?;
            // The same rollback again; one that would treat claimed codes otherwise is another one.
            match active(tx.client(), job, Action::Rollback, None).await? {
                Some(under_way) if under_way.as_deref() == Some(claimed.as_str()) => {
                    found(tx.client(), actor, job, |_| Asked::UnderWay).await
                }
                Some(_) => found(tx.client(), actor, job, |_| Asked::RollingBack).await,
                None => found(tx.client(), actor, job, Asked::WrongState).await,
            }
        }
        Err(error) if error.constraint() == Some("codes_import_jobs_merchant_lease") => {
            savepoint.rollback().await.map_err(|e| DbError::new("ask_rollback.rollback", e))?;
            let holder = sql::JOBS_LEASE_HOLDER.opt(tx.client(), &[(&job.0, Type::UUID)]).await?;
            Ok(Asked::MerchantBusy { by: holder.map(|row| JobId(row.get("id"))) })
        }
        Err(error) => Err(error),
    }
}

/// Promises another verification of a completed job.
pub async fn ask_verify(client: &Client, actor: &Actor, job: JobId) -> DbResult<Asked> {
    let merchants = merchant_ids(actor);
    let params: &[Param<'_>] =
        &[(&job.0, Type::UUID), (&merchants, Type::UUID_ARRAY), (&actor.user.0, Type::UUID)];
    if let Some(row) = sql::TASKS_ASK_VERIFY.opt(client, params).await? {
        return taken(client, job, TaskId(row.get("id")), Action::Verify).await;
    }
    let under_way = active(client, job, Action::Verify, None).await?.is_some();
    let rolling_back = active(client, job, Action::Rollback, None).await?.is_some();
    found(client, actor, job, |status| match status {
        Status::Completed if rolling_back => Asked::RollingBack,
        Status::Completed if under_way => Asked::UnderWay,
        status => Asked::WrongState(status),
    })
    .await
}

/// Promises an export.
pub async fn ask_export(client: &Client, actor: &Actor, job: JobId, kind: ExportKind) -> DbResult<Asked> {
    let merchants = merchant_ids(actor);
    let params: &[Param<'_>] = &[
        (&job.0, Type::UUID),
        (&merchants, Type::UUID_ARRAY),
        (&actor.user.0, Type::UUID),
        (&kind.as_str(), Type::TEXT),
    ];
    if let Some(row) = sql::TASKS_ASK_EXPORT.opt(client, params).await? {
        return taken(client, job, TaskId(row.get("id")), Action::Export).await;
    }
    let under_way = active(client, job, Action::Export, Some(kind)).await?.is_some();
    let staged = match super::jobs::find(client, job).await? {
        Some(job) => job.staging_created,
        None => false,
    };
    found(client, actor, job, |status| match status {
        _ if under_way => Asked::UnderWay,
        status if !status.is_final() && status != Status::AwaitingApproval => Asked::WrongState(status),
        status if staged => Asked::NotMarked(status),
        _ => Asked::StagingCleared,
    })
    .await
}

/// Drops the staging of a job that is over, in this transaction. Again, it finds nothing to do.
pub async fn clear_staging(tx: &Transaction<'_>, actor: &Actor, job: JobId) -> DbResult<Asked> {
    let merchants = merchant_ids(actor);
    let params: &[Param<'_>] = &[(&job.0, Type::UUID), (&merchants, Type::UUID_ARRAY)];
    if sql::JOBS_CLEAR_STAGING.opt(tx.client(), params).await?.is_some() {
        return match staging::drop_tables(tx, job).await {
            Ok(()) => Ok(Asked::Taken { messages: Vec::new() }),
            // Somebody reads it: an export whose task was given up, or a person.
            Err(error) if error.is_lock_timeout() => Ok(Asked::Exporting),
            Err(error) => Err(error),
        };
    }
    found(tx.client(), actor, job, |status| {
        if status.is_final() { Asked::Exporting } else { Asked::WrongState(status) }
    })
    .await
}

async fn taken(client: &Client, job: JobId, task: TaskId, action: Action) -> DbResult<Asked> {
    Ok(Asked::Taken { messages: vec![tasks::start(client, job, task, action).await?] })
}

/// What a task of that kind under way does with claimed codes, if there is one.
async fn active(
    client: &Client,
    job: JobId,
    action: Action,
    kind: Option<ExportKind>,
) -> DbResult<Option<Option<String>>> {
    let kind = kind.map(ExportKind::as_str);
    let params: &[Param<'_>] = &[(&job.0, Type::UUID), (&action.as_str(), Type::TEXT), (&kind, Type::TEXT)];
    Ok(sql::TASKS_ACTIVE.opt(client, params).await?.map(|row| row.get("claimed")))
}

/// Says why nothing was written: by the job's state, if the actor may see it.
async fn found(
    client: &Client,
    actor: &Actor,
    job: JobId,
    why: impl FnOnce(Status) -> Asked,
) -> DbResult<Asked> {
    Ok(match super::jobs::find(client, job).await? {
        Some(found) if actor.merchants.contains(&found.merchant) => why(found.status),
        _ => Asked::NotFound,
    })
}
