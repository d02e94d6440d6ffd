//! Maintenance of an import: requests it as the HTTP functions do, and runs the task as
//! `statemachine/maintenance.asl.json` does.

use crate::execution::budget;
use crate::fixture::World;
use import_jobs::maintain::{self, Asked};
use serde_json::{Value, json};
use shared::db::Database;
use shared::db::Limits;
use shared::domain::actor::Actor;
use shared::domain::ids::{JobId, TaskId};
use shared::domain::step::{StepError, StepResult};
use shared::domain::task::{Action, ClaimedCodes, ExportKind};
use shared::lambda::App;
use shared::lambda::task::{Caught, TaskInput};

/// What can be requested for an import that waits or has ended.
#[derive(Debug, Clone, Copy)]
pub enum Maintenance {
    Rollback(ClaimedCodes),
    Verify,
    Export(ExportKind),
    Clear,
}

/// Requests maintenance in a transaction of its own, as an HTTP function does.
pub async fn request_maintenance(db: &Database, actor: &Actor, job: JobId, what: Maintenance) -> Asked {
    let mut connection = db.connection().await.expect("connection");
    let mut tx = connection.begin("test.request_maintenance", Limits::short()).await.expect("transaction");
    let asked = match what {
        Maintenance::Rollback(claimed) => maintain::ask_rollback(&mut tx, actor, job, claimed).await,
        Maintenance::Verify => maintain::ask_verify(&tx, actor, job).await,
        Maintenance::Export(kind) => maintain::ask_export(&tx, actor, job, kind).await,
        Maintenance::Clear => maintain::clear_staging(&tx, actor, job).await,
    }
    .expect("an answer");
    // The idempotency wrapper also rolls back what was refused.
    match asked {
        Asked::Taken { .. } | Asked::UnderWay => tx.commit().await.expect("commit"),
        _ => tx.rollback().await.expect("rollback"),
    }
    asked
}

/// A maintenance task and the `App` that runs it.
#[derive(Clone)]
pub struct MaintenanceTask {
    pub app: App,
    pub task: TaskId,
    pub job: JobId,
    pub action: Action,
}

impl MaintenanceTask {
    /// Calls the task's function once.
    pub async fn run(&self) -> StepResult<Value> {
        self.call(None).await
    }

    /// Calls the function as the state machine does after the task has failed for good.
    pub async fn abandon(&self, error: &StepError) -> Value {
        let cause = json!({ "errorType": error.kind.as_str(), "errorMessage": error.message }).to_string();
        let caught = Caught { error: error.kind.as_str().into(), cause };
        self.call(Some(caught)).await.expect("abandoning the task")
    }

    async fn call(&self, error: Option<Caught>) -> StepResult<Value> {
        let (app, job_id, task_id) = (self.app.clone(), self.job, self.task);
        let input = TaskInput { task_id, job_id, error: error.clone() };
        match self.action {
            Action::Rollback => rollback_import::handle(app, input, budget()).await,
            Action::Export => export_report::handle(app, input, budget()).await,
            Action::Verify => {
                let input = verify_import::Input { job_id, task_id: Some(task_id), error, tidy_up: false };
                verify_import::handle(app, input, budget()).await.map(|output| json!(output))
            }
        }
    }

    /// The same task on an `App` with connections of its own.
    pub fn with_own_connections(&self, world: &World) -> Self {
        Self { app: world.app_with_pool(2), ..self.clone() }
    }
}

impl World {
    /// Requests maintenance as the merchant's member.
    pub async fn request_maintenance(&self, job: JobId, what: Maintenance) -> Asked {
        request_maintenance(&self.app.db, &self.actor, job, what).await
    }

    /// Requests maintenance, which must be accepted, and returns its task.
    pub async fn start_task(&self, job: JobId, what: Maintenance) -> MaintenanceTask {
        let asked = self.request_maintenance(job, what).await;
        assert!(matches!(asked, Asked::Taken { .. }), "{what:?}: {asked:?}");
        let action = match what {
            Maintenance::Rollback(_) => Action::Rollback,
            Maintenance::Verify => Action::Verify,
            Maintenance::Export(_) | Maintenance::Clear => Action::Export,
        };
        self.find_task(job, action).await
    }

    /// The job's newest task of this kind.
    pub async fn find_task(&self, job: JobId, action: Action) -> MaintenanceTask {
        let id = self
            .db
            .value(&format!(
                "SELECT id FROM onceload.import_tasks WHERE job_id = '{job}' AND action = '{action}' ORDER BY requested_at DESC LIMIT 1"
            ))
            .await;
        MaintenanceTask { app: self.app.clone(), task: TaskId(id.parse().expect("a task's id")), job, action }
    }

    /// Fails the tasks that the end of an import has requested, so that a test can request its own.
    pub async fn abandon_tasks(&self) {
        self.db
            .exec("UPDATE onceload.import_tasks SET status = 'failed', error_message = 'x', finished_at = now() WHERE status = 'active'")
            .await;
    }

    /// Requests maintenance and runs its task.
    pub async fn run_task(&self, job: JobId, what: Maintenance) -> Value {
        self.start_task(job, what).await.run().await.expect("the task")
    }
}
