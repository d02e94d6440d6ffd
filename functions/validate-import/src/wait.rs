//! Parks a validated import until a person approves it: `validating -> awaiting_approval`.

use shared::db::outbox::{Message, Promises};
use shared::db::{Database, Limits, Transaction, jobs, merchants, user_profiles};
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::StepResult;
use shared::domain::token::TaskToken;

/// Keeps the token that wakes the execution, and gives the merchant's lease to the next in line. Returns the message that announces
/// the wait, or the one that ends it if the import was approved while this step was repeated; and the next one's. A call that was
/// overtaken by a later one writes nothing, and nobody awaits its answer.
pub(crate) async fn await_approval(
    db: &Database,
    job_id: JobId,
    attempt: i32,
    token: TaskToken<'_>,
) -> StepResult<Promises> {
    let mut connection = db.connection().await?;
    let tx = connection.begin("validate.await", Limits::short()).await?;
    let outcome = keep_token(&tx, job_id, attempt, token).await;
    tx.settle(outcome).await
}

async fn keep_token(
    tx: &Transaction<'_>,
    job_id: JobId,
    attempt: i32,
    token: TaskToken<'_>,
) -> StepResult<Promises> {
    // Lock order: user, merchant, job.
    user_profiles::lock(tx, job_id).await?;
    merchants::lock_line_of(tx, job_id).await?;
    let message = if jobs::await_approval(tx, job_id, attempt, token).await? {
        Message::StateChanged
    } else if jobs::replace_token(tx, job_id, attempt, token).await? {
        Message::TaskSuccess { attempt }
    } else {
        let found = jobs::get(tx, job_id).await?;
        return match found.is_overtaken(attempt, token.order) {
            true => Ok(Promises::none()),
            false => Err(found.refusal(attempt, Status::Validating)),
        };
    };
    // First: the next in line waits for it.
    let mut promises = Promises::of_line(tx, job_id).await?;
    promises.promise(tx, job_id, &message).await?;
    Ok(promises)
}
