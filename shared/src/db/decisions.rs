//! What people decide about a job: approve, cancel, retry. One guarded UPDATE each, and the message that
//! carries the decision to the state machine in the same transaction.

use super::error::DbResult;
use super::outbox::Message;
use super::pool::{Connection, client};
use super::transaction::{Limits, begin, commit};
use super::{outbox, sql};
use crate::domain::ids::{JobId, MerchantId, UserId};
use crate::domain::job::Status;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
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
    connection: &mut Connection,
    actor: &Actor,
    job: JobId,
    approval: Approval,
) -> DbResult<Decision> {
    const NAME: &str = "approve";
    let tx = begin(connection, NAME, Limits::short()).await?;
    let approved = sql::JOBS_APPROVE
        .opt(
            tx.client(),
            &[
                (&job.0, Type::UUID),
                (&actor.merchant_ids(), Type::UUID_ARRAY),
                (&actor.user.0, Type::UUID),
                (&approval.clean_count, Type::INT8),
                (&approval.accept_duplicates, Type::BOOL),
            ],
        )
        .await;
    match approved {
        Ok(Some(row)) => {
            let message = Message::TaskSuccess { attempt: row.get("attempt") };
            let messages = vec![outbox::add(tx.client(), job, &message).await?];
            commit(tx, NAME).await?;
            Ok(Decision::Taken { messages })
        }
        Ok(None) => {
            let decision = why_not_approved(tx.client(), actor, job, approval).await?;
            commit(tx, NAME).await?;
            Ok(decision)
        }
        Err(error) if error.constraint() == Some("codes_import_jobs_merchant_lease") => {
            drop(tx);
            Ok(Decision::MerchantBusy { by: lease_holder(client(connection), job).await? })
        }
        Err(error) => Err(error),
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
pub async fn cancel(connection: &mut Connection, actor: &Actor, job: JobId) -> DbResult<Decision> {
    const NAME: &str = "cancel";
    let tx = begin(connection, NAME, Limits::short()).await?;
    let cancelled = sql::JOBS_CANCEL
        .opt(tx.client(), &[(&job.0, Type::UUID), (&actor.merchant_ids(), Type::UUID_ARRAY)])
        .await?;
    let decision = match cancelled {
        Some(row) => {
            let mut messages = Vec::new();
            if row.get::<_, &str>("status") == "cancelled" {
                messages.push(outbox::add(tx.client(), job, &Message::StateChanged).await?);
                if let Some(token) = row.get::<_, Option<String>>("task_token") {
                    messages.push(outbox::add(tx.client(), job, &Message::TaskFailure { token }).await?);
                }
            }
            Decision::Taken { messages }
        }
        None => match super::jobs::find(tx.client(), job).await? {
            Some(found) if actor.merchants.contains(&found.merchant) => match found.status {
                Status::Cancelled => Decision::Taken { messages: Vec::new() },
                status => Decision::WrongState(status),
            },
            _ => Decision::NotFound,
        },
    };
    commit(tx, NAME).await?;
    Ok(decision)
}

/// `failed -> loading` in the next attempt: loads what is not loaded, then goes on.
pub async fn retry(connection: &mut Connection, actor: &Actor, job: JobId) -> DbResult<Decision> {
    const NAME: &str = "retry";
    let tx = begin(connection, NAME, Limits::short()).await?;
    let retried = sql::JOBS_RETRY
        .opt(tx.client(), &[(&job.0, Type::UUID), (&actor.merchant_ids(), Type::UUID_ARRAY)])
        .await;
    match retried {
        Ok(Some(row)) => {
            let message = Message::StartExecution { attempt: row.get("attempt") };
            let messages = vec![outbox::add(tx.client(), job, &message).await?];
            commit(tx, NAME).await?;
            Ok(Decision::Taken { messages })
        }
        Ok(None) => Ok(match super::jobs::find(tx.client(), job).await? {
            Some(found) if actor.merchants.contains(&found.merchant) => match found.status {
                // Retried before and under way: the same retry again.
                Status::Loading if found.attempt > 1 => Decision::Taken { messages: Vec::new() },
                status => Decision::WrongState(status),
            },
            _ => Decision::NotFound,
        }),
        Err(error) if error.constraint() == Some("codes_import_jobs_merchant_lease") => {
            drop(tx);
            Ok(Decision::MerchantBusy { by: lease_holder(client(connection), job).await? })
        }
        Err(error) if error.constraint() == Some("codes_import_jobs_active_source") => {
            Ok(Decision::SourceActive)
        }
        Err(error) => Err(error),
    }
}

async fn lease_holder(client: &Client, job: JobId) -> DbResult<Option<JobId>> {
    let row = sql::JOBS_LEASE_HOLDER.opt(client, &[(&job.0, Type::UUID)]).await?;
    Ok(row.map(|row| JobId(row.get("id"))))
}
