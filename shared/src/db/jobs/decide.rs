//! What people decide about an import: each is one guarded statement.

use super::statements as sql;
use crate::db::connection::Session;
use crate::db::decode::read_word;
use crate::db::error::{DbError, DbResult};
use crate::db::guarded::Guarded;
use crate::db::statement::Binds;
use crate::db::transaction::Transaction;
use crate::domain::actor::Actor;
use crate::domain::ids::JobId;
use crate::domain::status::Status;
use std::time::Duration;

/// Approves: the job goes to the head of the line for the merchant's lease, and is `processing` afterwards if nobody else has it.
/// `insert_limit`: how long the insert may take by its estimate. `false`: its guard did not hold. Call under the line's lock.
pub async fn approve(
    on: &dyn Session,
    actor: &Actor,
    job: JobId,
    clean_count: i64,
    accept_duplicates: bool,
    insert_limit: Duration,
) -> DbResult<bool> {
    let binds: &Binds<'_> = &[
        &job,
        &actor.merchant_ids(),
        &actor.user,
        &clean_count,
        &accept_duplicates,
        &insert_limit.as_secs_f64(),
    ];
    Ok(sql::APPROVE.opt(on, binds).await?.is_some())
}

/// `failed -> loading` in the next attempt, with the merchant's lease. Returns the attempt.
pub async fn retry(tx: &mut Transaction<'_>, actor: &Actor, job: JobId) -> DbResult<Guarded<i32>> {
    begin_attempt(tx, actor, job, &[Status::Failed], None).await
}

/// `failed | awaiting_approval -> loading` in the next attempt, whose files have this fingerprint. Returns the attempt.
pub async fn begin_mended(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    fingerprint: &str,
) -> DbResult<Guarded<i32>> {
    begin_attempt(tx, actor, job, &[Status::Failed, Status::AwaitingApproval], Some(fingerprint)).await
}

async fn begin_attempt(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    from: &[Status],
    fingerprint: Option<&str>,
) -> DbResult<Guarded<i32>> {
    let (merchants, from) = (actor.merchant_ids(), from.iter().map(|s| s.as_str()).collect::<Vec<_>>());
    let outcome = tx.run_refusable(&sql::RETRY, &[&job, &merchants, &from, &fingerprint]).await;
    Guarded::read(outcome, |row| row.get("attempt"))
}

/// Keeps the merchant's lease free for this job for the next 20 seconds. Its person was told that the merchant is busy, and will
/// ask again.
pub async fn keep_turn(on: &dyn Session, actor: &Actor, job: JobId) -> DbResult<bool> {
    sql::KEEP_TURN.run_guarded(on, &[&job, &actor.merchant_ids()]).await
}

/// Locks the job until the transaction ends. `false`: it is not the actor's.
pub async fn lock(on: &dyn Session, actor: &Actor, job: JobId) -> DbResult<bool> {
    Ok(sql::LOCK.opt(on, &[&job, &actor.merchant_ids()]).await?.is_some())
}

/// A file of a failed job was mended, and others are still failed: keeps what they have become and which those are.
/// `mended`: the key under which the job named the file.
pub async fn record_mended(
    on: &dyn Session,
    job: JobId,
    fingerprint: &str,
    message: &str,
    mended: &str,
) -> DbResult<()> {
    sql::MENDED.run_one(on, &[&job, &fingerprint, &message, &mended]).await
}

/// What a cancellation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// `cancelled` if nobody worked on it, else still the working state.
    pub status: Status,
    /// The token of the execution that waits for an approval or in line.
    pub task_token: Option<String>,
}

/// Asks a working job to stop, or ends a waiting one. `None`: it is not the actor's, or is over.
pub async fn cancel(on: &dyn Session, actor: &Actor, job: JobId) -> DbResult<Option<Cancelled>> {
    let row = sql::CANCEL.opt(on, &[&job, &actor.merchant_ids()]).await?;
    row.map(|row| {
        Ok::<_, DbError>(Cancelled { status: read_word(&row, "status")?, task_token: row.get("task_token") })
    })
    .transpose()
}

/// The import that holds the lease of this job's merchant. Only for the message: the unique index has decided.
pub async fn find_lease_holder(on: &dyn Session, job: JobId) -> DbResult<Option<JobId>> {
    Ok(sql::LEASE_HOLDER.opt(on, &[&job]).await?.map(|row| JobId(row.get("id"))))
}

/// Marks the staging of a finished job as cleared. `false`: it is not the actor's, not over, or is being exported.
pub async fn clear_staging(on: &dyn Session, actor: &Actor, job: JobId) -> DbResult<bool> {
    Ok(sql::CLEAR_STAGING.opt(on, &[&job, &actor.merchant_ids()]).await?.is_some())
}
