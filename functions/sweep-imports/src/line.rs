//! Wakes imports in line that nobody woke.

use crate::Tally;
use shared::db::jobs;
use shared::db::outbox::Promises;
use shared::domain::ids::JobId;
use shared::domain::step::StepResult;
use shared::lambda::App;
use shared::lambda::deliver::deliver;

/// Wakes the first import in line of each merchant whose lease is free.
pub(crate) async fn wake_lost(app: &App) -> Tally {
    let mut tally = Tally::of("lost wake-ups");
    let lost = async { jobs::find_lost_wakes(&app.db.connection().await?).await };
    for job in tally.list(lost.await) {
        tally.add(job, wake(app, job).await);
    }
    tally
}

/// Whether somebody was to be woken.
async fn wake(app: &App, job: JobId) -> StepResult<bool> {
    let connection = app.db.connection().await?;
    // Decided again under the line's lock.
    jobs::hand_over(&connection, job).await?;
    let promises = Promises::of_line(&connection, job).await?;
    drop(connection);
    let woken = !promises.is_empty();
    deliver(app, promises).await;
    Ok(woken)
}
