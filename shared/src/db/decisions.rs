//! What people decide about a job: approve, cancel, retry. One guarded UPDATE each, and the message that
//! carries the decision to the state machine in the same transaction. Unless it is `Taken`, roll that back.

use super::claims::{Hold, hold, lock_user};
use super::error::{DbError, DbResult};
use super::outbox::Message;
use super::rows::{Param, Statement};
use super::transaction::Transaction;
use super::{outbox, sql};
use crate::domain::ids::{JobId, MerchantId, UserId};
use crate::domain::job::Status;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// Who decides, and for which merchants.
#[derive(Debug, Clone)]
pub struct Actor {
    pub user: UserId,
    pub merchants: Vec<MerchantId>,
}

impl Actor {
    fn merchant_ids(&self) -> Vec<Uuid> {
        self.merchants.iter().map(|merchant| merchant.0).collect()
    }
}

/// What became of a decision. `messages` are outbox rows to deliver now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Taken {
        messages: Vec<i64>,
    },
    /// No such job, or not one of the actor's merchants.
    NotFound,
    /// Another import of the merchant works.
    MerchantBusy {
        by: Option<JobId>,
    },
    /// The user who started the job imports something else by now.
    UserBusy {
        by: Option<JobId>,
    },
    /// The job's state doesn't allow it.
    WrongState(Status),
    /// The approval names another number of codes than are clean.
    WrongCount {
        clean: i64,
    },
    /// More duplicates than allowed: the approval must say that it accepts them.
    Blocked,
    /// The same source is being imported by another job.
    SourceActive,
}

/// What an approval says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    pub clean_count: i64,
    pub accept_duplicates: bool,
}

/// `awaiting_approval -> processing`. The same approval again is `Taken` again and wakes the execution again.
pub async fn approve(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    approval: Approval,
) -> DbResult<Decision> {
    if let Hold::Busy(by) = hold(tx.client(), job, &actor.merchant_ids()).await? {
        return Ok(Decision::UserBusy { by });
    }
    let params: &[Param<'_>] = &[
        (&job.0, Type::UUID),
        (&actor.merchant_ids(), Type::UUID_ARRAY),
        (&actor.user.0, Type::UUID),
        (&approval.clean_count, Type::INT8),
        (&approval.accept_duplicates, Type::BOOL),
    ];
    match guarded(tx, &sql::JOBS_APPROVE, params).await {
        Ok(Some(row)) => {
            let message = Message::TaskSuccess { attempt: row.get("attempt") };
            Ok(Decision::Taken { messages: vec![outbox::add(tx.client(), job, &message).await?] })
        }
        Ok(None) => why_not_approved(tx.client(), actor, job, approval).await,
        Err(error) => refused(tx.client(), job, error).await,
    }
}

/// Runs a statement that an index may refuse; the transaction goes on all the same.
async fn guarded(
    tx: &mut Transaction<'_>,
    statement: &Statement,
    params: &[Param<'_>],
) -> DbResult<Option<Row>> {
    let savepoint = tx.savepoint("decide").await.map_err(|e| DbError::new(statement.name, e))?;
    let decided = statement.opt(savepoint.client(), params).await;
    let ended = if decided.is_ok() { savepoint.commit().await } else { savepoint.rollback().await };
    ended.map_err(|e| DbError::new(statement.name, e))?;
    decided
}

/// What the refusal of an index means.
async fn refused(client: &Client, job: JobId, error: DbError) -> DbResult<Decision> {
    match error.constraint() {
        Some("codes_import_jobs_merchant_lease") => {
            Ok(Decision::MerchantBusy { by: lease_holder(client, job).await? })
        }
        Some("codes_import_jobs_active_source" | "migration_jobs_one_active") => Ok(Decision::SourceActive),
        _ => Err(error),
    }
}

async fn why_not_approved(
    client: &Client,
    actor: &Actor,
    job: JobId,
    approval: Approval,
) -> DbResult<Decision> {
    let Some(found) = super::jobs::find(client, job).await?.filter(|j| actor.merchants.contains(&j.merchant))
    else {
        return Ok(Decision::NotFound);
    };
    let same_count = found.clean == Some(approval.clean_count);
    Ok(match found.status {
        // Approved before: say so again, and if it isn't done, wake the execution again.
        Status::Processing if found.approved && same_count => {
            let message = Message::TaskSuccess { attempt: found.attempt };
            Decision::Taken { messages: vec![outbox::add(client, job, &message).await?] }
        }
        Status::Completed if found.approved && same_count => Decision::Taken { messages: Vec::new() },
        Status::AwaitingApproval if !same_count => {
            Decision::WrongCount { clean: found.clean.unwrap_or_default() }
        }
        Status::AwaitingApproval if found.blocked && !approval.accept_duplicates => Decision::Blocked,
        status => Decision::WrongState(status),
    })
}

/// Asks a working job to stop, ends a waiting one. Nothing is inserted; what is inserted already stays.
pub async fn cancel(tx: &mut Transaction<'_>, actor: &Actor, job: JobId) -> DbResult<Decision> {
    lock_user(tx.client(), job).await?;
    let cancelled = sql::JOBS_CANCEL
        .opt(tx.client(), &[(&job.0, Type::UUID), (&actor.merchant_ids(), Type::UUID_ARRAY)])
        .await?;
    let Some(row) = cancelled else {
        return Ok(match super::jobs::find(tx.client(), job).await? {
            Some(found) if actor.merchants.contains(&found.merchant) => match found.status {
                Status::Cancelled => Decision::Taken { messages: Vec::new() },
                status => Decision::WrongState(status),
            },
            _ => Decision::NotFound,
        });
    };
    let mut messages = Vec::new();
    if row.get::<_, &str>("status") == "cancelled" {
        messages.push(outbox::add(tx.client(), job, &Message::StateChanged).await?);
        if let Some(token) = row.get::<_, Option<String>>("task_token") {
            messages.push(outbox::add(tx.client(), job, &Message::TaskFailure { token }).await?);
        }
    }
    Ok(Decision::Taken { messages })
}

/// `failed -> loading` in the next attempt: loads what is not loaded, then goes on.
pub async fn retry(tx: &mut Transaction<'_>, actor: &Actor, job: JobId) -> DbResult<Decision> {
    if let Hold::Busy(by) = hold(tx.client(), job, &actor.merchant_ids()).await? {
        return Ok(Decision::UserBusy { by });
    }
    let params: &[Param<'_>] = &[(&job.0, Type::UUID), (&actor.merchant_ids(), Type::UUID_ARRAY)];
    match guarded(tx, &sql::JOBS_RETRY, params).await {
        Ok(Some(row)) => {
            let message = Message::StartExecution { attempt: row.get("attempt") };
            Ok(Decision::Taken { messages: vec![outbox::add(tx.client(), job, &message).await?] })
        }
        Ok(None) => Ok(match super::jobs::find(tx.client(), job).await? {
            Some(found) if actor.merchants.contains(&found.merchant) => match found.status {
                // Retried before and under way: the same retry again.
                Status::Loading if found.attempt > 1 => Decision::Taken { messages: Vec::new() },
                status => Decision::WrongState(status),
            },
            _ => Decision::NotFound,
        }),
        Err(error) => refused(tx.client(), job, error).await,
    }
}

async fn lease_holder(client: &Client, job: JobId) -> DbResult<Option<JobId>> {
    let row = sql::JOBS_LEASE_HOLDER.opt(client, &[(&job.0, Type::UUID)]).await?;
    Ok(row.map(|row| JobId(row.get("id"))))
}
