//! Gives up rollbacks, verifications and exports whose execution is over without their end being recorded, so that no
//! merchant stays locked.

use crate::executions::{self, Execution};
use shared::db::outbox::{self, Message};
use shared::db::tasks::{self, SilentTask};
use shared::domain::execution;
use shared::domain::step::StepResult;
use shared::lambda::App;
use shared::lambda::deliver::deliver;
use std::time::Duration;

/// Gives up the tasks that have been silent for so long and whose execution is over. Returns how many.
pub(crate) async fn give_up_dead(app: &App, silent_for: Duration) -> StepResult<usize> {
    let Some(machine) = app.config.maintenance_state_machine_arn.as_deref() else { return Ok(0) };
    let connection = app.db.connection().await?;
    let silent = tasks::find_silent(&connection, silent_for).await?;
    drop(connection);
    let mut given_up = 0;
    for task in silent {
        let Some(why) = find_end(app, machine, &task).await? else { continue };
        let connection = app.db.connection().await?;
        let Some(promises) = tasks::give_up(&connection, task.task, &why).await? else { continue };
        drop(connection);
        deliver(app, promises).await;
        given_up += 1;
    }
    Ok(given_up)
}

/// How the task's execution ended, if it has.
async fn find_end(app: &App, machine: &str, task: &SilentTask) -> StepResult<Option<String>> {
    let execution = execution::arn(machine, &execution::name_of_task(task.action, task.task));
    Ok(match executions::find(app, &execution).await {
        Execution::Ended(how) => Some(how),
        Execution::Gone => {
            let start = Message::StartMaintenance { task: task.task, action: task.action };
            let on_its_way = outbox::is_on_its_way(&app.db.connection().await?, task.job, &start).await?;
            (!on_its_way).then(|| "its execution is gone".to_owned())
        }
        Execution::Going => None,
    })
}
