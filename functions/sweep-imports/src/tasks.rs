//! Rollbacks, verifications and exports whose execution is over without having said so: given up, so that no
//! merchant stays locked.

use crate::executions::{self, Execution};
use shared::db::pool::client;
use shared::db::tasks::{self, Silent};
use shared::domain::step::StepResult;
use shared::edge::App;
use shared::edge::deliver::maintenance_execution;
use std::time::Duration;

pub async fn give_up_dead(app: &App, silent_for: Duration) -> StepResult<usize> {
    let Some(machine) = app.config.maintenance_state_machine_arn.as_deref() else { return Ok(0) };
    let connection = app.db.connection().await?;
    let silent = tasks::silent(client(&connection), silent_for).await?;
    drop(connection);
    let mut given_up = 0;
    for task in silent {
        let Some(why) = how_it_ended(app, machine, &task).await else { continue };
        let connection = app.db.connection().await?;
        given_up += usize::from(tasks::give_up(client(&connection), task.task, &why).await?);
    }
    Ok(given_up)
}

/// How the task's execution ended, if it has.
async fn how_it_ended(app: &App, machine: &str, task: &Silent) -> Option<String> {
    match executions::look(app, &maintenance_execution(machine, task.task, task.action)).await {
        Execution::Ended(how) => Some(how),
        // Its start stands in the outbox; after ten minutes of failing starts a person should know.
        Execution::Gone => task.old.then(|| "its execution could not be started, or is gone".to_owned()),
        Execution::Going => None,
    }
}
