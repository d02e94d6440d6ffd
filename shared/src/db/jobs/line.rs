//! The line for a merchant's lease. Whoever is first and finds the lease free goes on; the database wakes it
//! (`onceload.hand_over_lease`).

use super::{Job, statements as sql};
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::guarded::Guarded;
use crate::db::statement::Binds;
use crate::db::transaction::Transaction;
use crate::domain::ids::JobId;
use crate::domain::token::TaskToken;

/// Gives a pending job its place in line; with a token it sleeps there. `false`: it has the lease already, is not pending any
/// more, or a later call has brought a token. Call under the line's lock.
pub async fn join_line(
    on: &dyn Session,
    job: &Job,
    split_points: Option<&[String]>,
    token: Option<TaskToken<'_>>,
) -> DbResult<bool> {
    let (entered_at, retry_count) = token.map(|token| token.order_columns()).unwrap_or_default();
    let token = token.map(|token| token.token);
    let binds: &Binds<'_> = &[&job.id, &job.attempt, &split_points, &token, &entered_at, &retry_count];
    sql::JOIN_LINE.run_guarded(on, binds).await
}

/// `pending -> loading` with the merchant's lease. `false`: another job has it, or is first in line. Call under the line's lock.
pub async fn take_lease(tx: &mut Transaction<'_>, job: &Job, split_points: &[String]) -> DbResult<bool> {
    let taken = tx.run_refusable(&sql::TAKE_LEASE, &[&job.id, &job.attempt, &split_points]).await;
    // A retry or a rollback, which people ask for, passes by the line.
    Ok(matches!(Guarded::read(taken, |_| ())?, Guarded::Done(())))
}

/// Notes that the job was woken by this token.
pub async fn record_woken(on: &dyn Session, job: JobId, token: &str) -> DbResult<bool> {
    sql::WOKEN.run_guarded(on, &[&job, &token]).await
}

/// Takes a job out of the line whose token nobody listens to. `false`: it has another one by now, or goes on.
pub async fn leave_line(on: &dyn Session, job: JobId, token: &str) -> DbResult<bool> {
    sql::LEAVE_LINE.run_guarded(on, &[&job, &token]).await
}

/// Hands the lease of this job's merchant to the next in line, if nobody has it.
pub async fn hand_over(on: &dyn Session, job: JobId) -> DbResult<()> {
    sql::HAND_OVER.one(on, &[&job]).await.map(drop)
}

/// The jobs that are first in line and should be awake, because nobody has their merchant's lease.
pub async fn find_lost_wakes(on: &dyn Session) -> DbResult<Vec<JobId>> {
    Ok(sql::LOST_WAKES.all(on, &[]).await?.iter().map(|row| JobId(row.get("id"))).collect())
}
