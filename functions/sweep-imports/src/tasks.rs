//! Rollbacks, verifications and exports whose execution is over without having said so: given up, so that no
//! merchant stays locked.

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
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
    let arn = maintenance_execution(machine, task.task, task.action);
    match app.states.describe_execution().execution_arn(arn).send().await {
        Ok(execution) if *execution.status() == ExecutionStatus::Running => None,
        Ok(execution) => {
            let error = execution.error().unwrap_or("no error");
            Some(format!("its execution ended ({}, {error}) without closing it", execution.status().as_str()))
        }
        // Its start stands in the outbox; after ten minutes of failing starts a person should know.
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => {
            task.old.then(|| "its execution could not be started, or is gone".to_owned())
        }
        Err(error) => {
            tracing::warn!(job_id = %task.job, error = %aws_sdk_sfn::error::DisplayErrorContext(error), "execution could not be looked up");
            None
        }
    }
}
