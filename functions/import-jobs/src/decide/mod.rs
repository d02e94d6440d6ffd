//! Decides about an import: approve, cancel, retry. One guarded UPDATE decides each, and the message that carries the
//! decision to the state machine is promised in the same transaction.

pub(crate) mod routes;

use shared::db::outbox::{Message, Promises};
use shared::db::user_profiles::{self, Hold};
use shared::db::{DbResult, Guarded, Session, Transaction, jobs, merchants};
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use std::time::Duration;

/// What became of a decision. Unless it is `Taken`, the transaction must be rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stands.
    Taken {
        /// Messages to deliver after the commit.
        promises: Promises,
    },
    /// There is no such job, or it is not one of the actor's merchants'.
    NotFound,
    /// Another import of the merchant works.
    MerchantBusy {
        /// Its job, unless it has just ended.
        by: Option<JobId>,
    },
    /// The user who started the job imports something else by now.
    UserBusy {
        /// The job of that import.
        by: Option<JobId>,
    },
    /// The job's state doesn't allow it.
    WrongState(Status),
    /// The approval names another number of codes than are clean.
    WrongCount {
        /// The codes that are clean.
        clean: i64,
    },
    /// The insert can't be done in the time that it has.
    InsertTooLarge(LargeInsert),
    /// More of the import is duplicate than its options allow, and the approval doesn't accept that.
    Blocked,
    /// Another job imports the same source.
    SourceActive,
}

/// An insert that takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeInsert {
    /// Codes that are to be inserted.
    pub clean: i64,
    /// How long that takes by its estimate.
    pub estimate: Duration,
    /// How long it may take.
    pub limit: Duration,
}

impl LargeInsert {
    /// How many codes can be inserted in the time at the same pace; whole thousands of many.
    pub fn fitting(&self) -> i64 {
        let fitting = (self.clean as f64 * self.limit.div_duration_f64(self.estimate)) as i64;
        if fitting < 10_000 { fitting } else { fitting - fitting % 1_000 }
    }
}

/// What an approval says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// The number of clean codes that it is for.
    pub clean_count: i64,
    /// Whether it accepts more duplicates than the options allow.
    pub accept_duplicates: bool,
}

/// Approves: `awaiting_approval -> processing`, at once or when the merchant is free. The same approval again is `Taken` again, as
/// long as it stands, and wakes an execution that has not heard of it. An insert that takes longer than `insert_limit` by its
/// estimate is not approved.
pub async fn approve(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    approval: Approval,
    insert_limit: Duration,
) -> DbResult<Decision> {
    // Locks the user's row. Lock order: user, merchant, job.
    if let Hold::Busy(by) = user_profiles::hold(tx, job, actor).await? {
        return Ok(Decision::UserBusy { by });
    }
    merchants::lock_line_of(tx, job).await?;
    let Approval { clean_count, accept_duplicates } = approval;
    if jobs::approve(tx, actor, job, clean_count, accept_duplicates, insert_limit).await? {
        return Ok(Decision::Taken { promises: Promises::of_line(tx, job).await? });
    }
    explain_approval(tx, actor, job, approval, insert_limit).await
}

/// Says why an approval changed nothing.
async fn explain_approval(
    on: &dyn Session,
    actor: &Actor,
    job: JobId,
    approval: Approval,
    insert_limit: Duration,
) -> DbResult<Decision> {
    let found = jobs::find(on, job).await?.filter(|found| actor.merchants.contains(&found.merchant));
    let Some(found) = found else { return Ok(Decision::NotFound) };
    let same_count = found.clean == Some(approval.clean_count);
    let approved = found.approved_clean == Some(approval.clean_count);
    let too_large = found.insert_estimate.filter(|estimate| *estimate > insert_limit);
    Ok(match found.status {
        // It was approved before. If its execution still waits, the first message was lost.
        Status::Processing if approved => {
            return promise(on, job, &Message::TaskSuccess { attempt: found.attempt }).await;
        }
        // It is loaded or marked again, and the approval is compared with what is clean then.
        Status::Loading | Status::Checking | Status::Validating | Status::Completed if approved => {
            taken_before()
        }
        Status::AwaitingApproval if !same_count => {
            Decision::WrongCount { clean: found.clean.unwrap_or_default() }
        }
        // It was approved before, and waits for the merchant.
        Status::AwaitingApproval if approved => taken_before(),
        Status::AwaitingApproval if let Some(estimate) = too_large => Decision::InsertTooLarge(LargeInsert {
            clean: approval.clean_count,
            estimate,
            limit: insert_limit,
        }),
        Status::AwaitingApproval if found.blocked && !approval.accept_duplicates => Decision::Blocked,
        status => Decision::WrongState(status),
    })
}

/// Asks a working job to stop, or ends a waiting one. Codes that are inserted stay.
pub async fn cancel(tx: &mut Transaction<'_>, actor: &Actor, job: JobId) -> DbResult<Decision> {
    // Lock order: user, merchant, job.
    user_profiles::lock(tx, job).await?;
    merchants::lock_line_of(tx, job).await?;
    let Some(cancelled) = jobs::cancel(tx, actor, job).await? else {
        return Ok(match find_status(tx, actor, job).await? {
            None => Decision::NotFound,
            Some((Status::Cancelled, _)) => taken_before(),
            Some((status, _)) => Decision::WrongState(status),
        });
    };
    let mut promises = Promises::none();
    if cancelled.status == Status::Cancelled {
        // First: the next in line waits for it.
        promises.extend(Promises::of_line(tx, job).await?);
        promises.promise(tx, job, &Message::StateChanged).await?;
        if let Some(token) = cancelled.task_token {
            promises.promise(tx, job, &Message::TaskFailure { token }).await?;
        }
    }
    Ok(Decision::Taken { promises })
}

/// Retries: `failed -> loading` in the next attempt, which loads what is not loaded and goes on.
pub async fn retry(tx: &mut Transaction<'_>, actor: &Actor, job: JobId) -> DbResult<Decision> {
    // Locks the user's row. Lock order: user, merchant, job.
    if let Hold::Busy(by) = user_profiles::hold(tx, job, actor).await? {
        return Ok(Decision::UserBusy { by });
    }
    match jobs::retry(tx, actor, job).await? {
        Guarded::Done(attempt) => promise(tx, job, &Message::StartExecution { attempt }).await,
        Guarded::NotAllowed => Ok(match find_status(tx, actor, job).await? {
            None => Decision::NotFound,
            // It was retried before and is under way.
            Some((Status::Loading, attempt)) if attempt > 1 => taken_before(),
            Some((status, _)) => Decision::WrongState(status),
        }),
        Guarded::MerchantBusy => merchant_busy(tx, job).await,
        Guarded::SourceActive => Ok(Decision::SourceActive),
    }
}

async fn promise(on: &dyn Session, job: JobId, message: &Message) -> DbResult<Decision> {
    let mut promises = Promises::none();
    promises.promise(on, job, message).await?;
    Ok(Decision::Taken { promises })
}

/// The same decision was taken before, and its messages are delivered.
fn taken_before() -> Decision {
    Decision::Taken { promises: Promises::none() }
}

pub(crate) async fn merchant_busy(on: &dyn Session, job: JobId) -> DbResult<Decision> {
    Ok(Decision::MerchantBusy { by: jobs::find_lease_holder(on, job).await? })
}

/// State and attempt of a job that the actor may see.
async fn find_status(on: &dyn Session, actor: &Actor, job: JobId) -> DbResult<Option<(Status, i32)>> {
    let found = jobs::find(on, job).await?.filter(|found| actor.merchants.contains(&found.merchant));
    Ok(found.map(|found| (found.status, found.attempt)))
}
