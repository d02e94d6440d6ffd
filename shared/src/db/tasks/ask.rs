//! Asking for a task: one guarded statement each.

use super::{ACTIVE, ASK_AGAIN, ASK_EXPORT, ASK_ROLLBACK, ASK_VERIFY};
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::guarded::Guarded;
use crate::db::outbox::{Message, Promises};
use crate::db::transaction::Transaction;
use crate::domain::actor::Actor;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::task::{Action, ClaimedCodes, ExportKind};

/// Takes a completed job's merchant for a rollback, and makes its task.
pub async fn ask_rollback(
    tx: &mut Transaction<'_>,
    actor: &Actor,
    job: JobId,
    claimed: ClaimedCodes,
) -> DbResult<Guarded<TaskId>> {
    let merchants = actor.merchant_ids();
    let outcome = tx.run_refusable(&ASK_ROLLBACK, &[&job, &merchants, &actor.user, &claimed]).await;
    Guarded::read(outcome, |row| TaskId(row.get("id")))
}

/// Makes the task of another verification of a completed job. `None`: its guard did not hold, or it is under way.
pub async fn ask_verify(on: &dyn Session, actor: &Actor, job: JobId) -> DbResult<Option<TaskId>> {
    let row = ASK_VERIFY.opt(on, &[&job, &actor.merchant_ids(), &actor.user]).await?;
    Ok(row.map(|row| TaskId(row.get("id"))))
}

/// Makes the task of an export. `None`: its guard did not hold, or it is under way.
pub async fn ask_export(
    on: &dyn Session,
    actor: &Actor,
    job: JobId,
    kind: ExportKind,
) -> DbResult<Option<TaskId>> {
    let row = ASK_EXPORT.opt(on, &[&job, &actor.merchant_ids(), &actor.user, &kind]).await?;
    Ok(row.map(|row| TaskId(row.get("id"))))
}

/// Asks again for what the end of an import should have left, and has not: its verification, and exports that failed. Promises their
/// executions.
pub async fn ask_again(on: &dyn Session) -> DbResult<Promises> {
    ASK_AGAIN.all(on, &[]).await.map(|rows| Promises::of_rows(&rows))
}

/// Promises the execution of a task.
pub async fn promise_start(on: &dyn Session, job: JobId, task: TaskId, action: Action) -> DbResult<Promises> {
    let mut promises = Promises::none();
    promises.promise(on, job, &Message::StartMaintenance { task, action }).await?;
    Ok(promises)
}

/// A task that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveTask {
    /// The task.
    pub id: TaskId,
    /// What a rollback does with claimed codes.
    pub claimed: Option<ClaimedCodes>,
}

/// The job's task of this kind that is under way.
pub async fn find_active(
    on: &dyn Session,
    job: JobId,
    action: Action,
    kind: Option<ExportKind>,
) -> DbResult<Option<ActiveTask>> {
    let row = ACTIVE.opt(on, &[&job, &action, &kind]).await?;
    Ok(row.map(|row| ActiveTask {
        id: TaskId(row.get("id")),
        claimed: row.get::<_, Option<&str>>("claimed").and_then(ClaimedCodes::by_name),
    }))
}
