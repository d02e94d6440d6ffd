//! Gives up rollbacks, verifications and exports whose execution is over without their end being recorded, so that no
//! merchant stays locked; and asks again for what a completed import still lacks.

use crate::executions::look_up;
use crate::{MOST, SILENT, Tally};
use shared::db::outbox::{self, Message};
use shared::db::tasks::{self, UnfinishedTask};
use shared::domain::execution;
use shared::domain::step::StepResult;
use shared::lambda::App;
use shared::lambda::deliver::deliver;
use shared::lambda::executions::Execution;

/// Gives up the tasks whose execution is over.
pub(crate) async fn give_up_dead(app: &App) -> Tally {
    let mut tally = Tally::of("dead tasks");
    let Some(machine) = app.config.maintenance_state_machine_arn.as_deref() else { return tally };
    let unfinished = async { tasks::take_unfinished(&app.db.connection().await?, SILENT, MOST).await };
    let unfinished = tally.list(unfinished.await);
    let arn =
        |task: &UnfinishedTask| execution::arn(machine, &execution::name_of_task(task.action, task.task));
    for (task, execution) in look_up(app, unfinished, |task| Some(arn(task))).await {
        tally.add(task.task, give_up(app, &task, execution).await);
    }
    tally
}

/// Gives the task up, if its execution is over.
async fn give_up(app: &App, task: &UnfinishedTask, execution: Execution) -> StepResult<bool> {
    let why = match execution {
        Execution::Going | Execution::Unknown => return Ok(false),
        Execution::Ended(how) => how,
        Execution::Gone if is_starting(app, task).await? => return Ok(false),
        Execution::Gone => "its execution is gone".to_owned(),
    };
    let connection = app.db.connection().await?;
    let given_up = tasks::give_up(&connection, task.task, None, &why).await?;
    drop(connection);
    let Some(promises) = given_up else { return Ok(false) };
    deliver(app, promises).await;
    Ok(true)
}

/// Whether the outbox starts its execution, or did so only now.
async fn is_starting(app: &App, task: &UnfinishedTask) -> StepResult<bool> {
    let start = Message::StartMaintenance { task: task.task, action: task.action };
    Ok(outbox::is_on_its_way(&app.db.connection().await?, task.job, &start).await?)
}

/// Asks again for verifications that are missing, and for exports of completed imports that failed. Returns how many.
pub(crate) async fn ask_again(app: &App) -> StepResult<usize> {
    let connection = app.db.connection().await?;
    let promises = tasks::ask_again(&connection).await?;
    drop(connection);
    let asked = promises.len();
    deliver(app, promises).await;
    Ok(asked)
}
