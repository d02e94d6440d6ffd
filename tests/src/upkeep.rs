//! What is asked of an import that is over or waits: asking as the HTTP functions do, and running the task as
//! `statemachine/maintenance.asl.json` does.

use crate::drive::budget;
use crate::fixture::{Bench, app};
use serde_json::{Value, json};
use shared::db::Database;
use shared::db::decisions::Actor;
use shared::db::maintenance::{self, Asked};
use shared::db::transaction::{Limits, begin, commit};
use shared::domain::ids::{JobId, TaskId};
use shared::domain::step::{StepError, StepResult};
use shared::domain::task::{Action, Claimed, ExportKind};
use shared::edge::App;
use shared::edge::task::{Caught, TaskInput};

/// Something to ask for.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    Rollback(Claimed),
    Verify,
    Export(ExportKind),
    Clear,
}

/// Asks in a transaction of its own, as an HTTP function does.
pub async fn ask(db: &Database, actor: &Actor, job: JobId, what: Ask) -> Asked {
    let mut connection = db.connection().await.expect("connection");
    let mut tx = begin(&mut connection, "test.ask", Limits::short()).await.expect("transaction");
    let asked = match what {
        Ask::Rollback(claimed) => maintenance::ask_rollback(&mut tx, actor, job, claimed).await,
        Ask::Verify => maintenance::ask_verify(tx.client(), actor, job).await,
        Ask::Export(kind) => maintenance::ask_export(tx.client(), actor, job, kind).await,
        Ask::Clear => maintenance::clear_staging(&tx, actor, job).await,
    }
    .expect("an answer");
    // What was not taken is rolled back, as by the idempotency wrapper.
    match asked {
        Asked::Taken { .. } | Asked::UnderWay => commit(tx, "test.ask").await.expect("commit"),
        _ => tx.rollback().await.expect("rollback"),
    }
    asked
}

/// A task, and the functions' `App` to run it with.
#[derive(Clone)]
pub struct Upkeep {
    pub app: App,
    pub task: TaskId,
    pub job: JobId,
    pub action: Action,
}

impl Upkeep {
    /// One call of the function, as often as you like.
    pub async fn run(&self) -> StepResult<Value> {
        self.call(None).await
    }

    /// What the state machine does when the function failed for good.
    pub async fn give_up(&self, error: &StepError) -> Value {
        let cause = json!({ "errorType": error.kind.as_str(), "errorMessage": error.message }).to_string();
        let caught = Caught { error: error.kind.as_str().into(), cause };
        self.call(Some(caught)).await.expect("giving up")
    }

    async fn call(&self, error: Option<Caught>) -> StepResult<Value> {
        let (app, job_id, task_id) = (self.app.clone(), self.job, self.task);
        let input = TaskInput { task_id, job_id, error: error.clone() };
        match self.action {
            Action::Rollback => rollback_import::handle(app, input, budget()).await,
            Action::Export => export_report::handle(app, input, budget()).await,
            Action::Verify => {
                let input = verify_import::Input { job_id, task_id: Some(task_id), error };
                verify_import::handle(app, input, budget()).await
            }
        }
    }

    /// The same beside it, with connections of its own.
    pub fn beside(&self, bench: &Bench) -> Self {
        Self { app: app(&bench.db, &bench.s3), ..self.clone() }
    }
}

impl Bench {
    pub async fn ask(&self, job: JobId, what: Ask) -> Asked {
        ask(&self.app.db, &self.actor, job, what).await
    }

    /// Asks, and is given the task.
    pub async fn task(&self, job: JobId, what: Ask) -> Upkeep {
        let asked = self.ask(job, what).await;
        assert!(matches!(asked, Asked::Taken { .. }), "{what:?}: {asked:?}");
        let action = match what {
            Ask::Rollback(_) => Action::Rollback,
            Ask::Verify => Action::Verify,
            Ask::Export(_) | Ask::Clear => Action::Export,
        };
        let id = self
            .db
            .value(&format!(
                "SELECT id FROM import_tasks WHERE job_id = '{job}' AND action = '{action}' ORDER BY requested_at DESC LIMIT 1"
            ))
            .await;
        Upkeep { app: self.app.clone(), task: TaskId(id.parse().expect("a task's id")), job, action }
    }

    /// What the end of an import has asked for by itself is given up: the test asks.
    pub async fn forget_tasks(&self) {
        self.db
            .exec("UPDATE import_tasks SET status = 'failed', error_message = 'x', finished_at = now() WHERE status = 'active'")
            .await;
    }

    /// Asks and does it.
    pub async fn done(&self, job: JobId, what: Ask) -> Value {
        self.task(job, what).await.run().await.expect("the task")
    }
}
