//! Effects outside the database, promised by the transaction that made them due.

use super::connection::Session;
use super::error::DbResult;
use super::statement::{Statement, statements};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::task::Action;
use serde_json::{Value, json};
use uuid::Uuid;

statements! {
    "outbox":
    ADD = "add";
    DELIVERED = "delivered";
    FAILED = "failed";
    LINE = "line";
    START = "start";
    TAKE_DUE = "take_due";
}

/// What is to be done. Doing it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Start the execution `{job}-{attempt}`.
    StartExecution {
        /// The attempt that it works for.
        attempt: i32,
    },
    /// Stop an execution that was superseded.
    StopExecution {
        /// That execution.
        execution_arn: String,
    },
    /// Wake the execution that waits for an approval or in line for the merchant. The token is read from the job when it is
    /// sent.
    TaskSuccess {
        /// The attempt that goes on.
        attempt: i32,
    },
    /// End the wait of a job that was cancelled.
    TaskFailure {
        /// The token of the waiting execution.
        token: String,
    },
    /// Publish the event `ImportStateChanged`.
    StateChanged,
    /// Start the execution `{action}-{task}` of the state machine `maintenance`.
    StartMaintenance {
        /// The task that it carries out.
        task: TaskId,
        /// What the task is.
        action: Action,
    },
}

impl Message {
    fn kind(&self) -> &'static str {
        match self {
            Self::StartExecution { .. } => "start_execution",
            Self::StopExecution { .. } => "stop_execution",
            Self::TaskSuccess { .. } => "task_success",
            Self::TaskFailure { .. } => "task_failure",
            Self::StateChanged => "state_changed",
            Self::StartMaintenance { .. } => "start_maintenance",
        }
    }

    fn payload(&self) -> Value {
        match self {
            Self::StartExecution { attempt } | Self::TaskSuccess { attempt } => json!({ "attempt": attempt }),
            Self::StopExecution { execution_arn } => json!({ "execution_arn": execution_arn }),
            Self::TaskFailure { token } => json!({ "token": token }),
            Self::StateChanged => json!({}),
            Self::StartMaintenance { task, action } => json!({ "task_id": task, "action": action }),
        }
    }

    fn read(kind: &str, payload: &Value) -> Option<Self> {
        let attempt = || payload["attempt"].as_i64().and_then(|n| i32::try_from(n).ok());
        let text = |name: &str| payload[name].as_str().map(str::to_owned);
        Some(match kind {
            "start_execution" => Self::StartExecution { attempt: attempt()? },
            "task_success" => Self::TaskSuccess { attempt: attempt()? },
            "stop_execution" => Self::StopExecution { execution_arn: text("execution_arn")? },
            "task_failure" => Self::TaskFailure { token: text("token")? },
            "state_changed" => Self::StateChanged,
            "start_maintenance" => Self::StartMaintenance {
                task: TaskId(payload["task_id"].as_str().and_then(|id| Uuid::try_parse(id).ok())?),
                action: payload["action"].as_str().and_then(Action::by_name)?,
            },
            _ => return None,
        })
    }
}

/// Messages that a transaction has promised, to be delivered once it has committed.
#[must_use = "promised messages are delivered after the commit, or left to the sweep explicitly"]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promises(Vec<i64>);

impl Promises {
    /// No message.
    pub fn none() -> Self {
        Self::default()
    }

    /// The wake-ups that the line of this job's merchant has been promised. The caller delivers them after its commit, if its
    /// transaction returned the lease, left the line or joined it.
    pub async fn of_line(on: &dyn Session, job: JobId) -> DbResult<Self> {
        Self::list(&LINE, on, job).await
    }

    /// The promised start of the job's next attempt.
    pub async fn of_start(on: &dyn Session, job: JobId) -> DbResult<Self> {
        Self::list(&START, on, job).await
    }

    async fn list(statement: &Statement, on: &dyn Session, job: JobId) -> DbResult<Self> {
        let rows = statement.all(on, &[&job]).await?;
        Ok(Self(rows.iter().map(|row| row.get("id")).collect()))
    }

    /// Writes one more message into the transaction.
    pub async fn promise(&mut self, on: &dyn Session, job: JobId, message: &Message) -> DbResult<()> {
        let row = ADD.one(on, &[&job, &message.kind(), &message.payload()]).await?;
        self.0.push(row.get("id"));
        Ok(())
    }

    /// Adds the messages of another part of the transaction.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids of the messages, in order.
    pub fn into_ids(self) -> Vec<i64> {
        self.0
    }

    /// Leaves the messages to the sweep, which delivers what nobody else does.
    pub fn leave_to_sweep(self) {}
}

/// A message that this caller may deliver now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its row.
    pub id: i64,
    /// The job that it is about.
    pub job: JobId,
    /// What is to be done.
    pub message: Message,
}

/// Takes one message, or up to `limit` due ones, for half a minute.
pub async fn take_due(on: &dyn Session, id: Option<i64>, limit: i64) -> DbResult<Vec<Due>> {
    let rows = TAKE_DUE.all(on, &[&id, &limit]).await?;
    Ok(rows
        .iter()
        .filter_map(|row| {
            let message = Message::read(row.get("kind"), &row.get::<_, Value>("payload"))?;
            Some(Due { id: row.get("id"), job: JobId(row.get("job_id")), message })
        })
        .collect())
}

/// Notes that a message was delivered.
pub async fn record_delivered(on: &dyn Session, id: i64) -> DbResult<()> {
    DELIVERED.run_one(on, &[&id]).await
}

/// Notes why a message could not be delivered; it is due again later.
pub async fn record_failed(on: &dyn Session, id: i64, error: &str) -> DbResult<()> {
    FAILED.run_one(on, &[&id, &error]).await
}
