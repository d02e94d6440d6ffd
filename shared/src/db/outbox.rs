//! Effects outside the database, promised by the transaction that made them due.

use super::error::DbResult;
use super::rows::Param;
use super::sql;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::task::Action;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// What is to be done. Doing it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Start the execution `{job}-{attempt}`.
    StartExecution { attempt: i32 },
    /// Stop an execution that was superseded.
    StopExecution { execution_arn: String },
    /// Wake the execution that waits for an approval. The token is read from the job when it is sent.
    TaskSuccess { attempt: i32 },
    /// End the wait of a job that was cancelled.
    TaskFailure { token: String },
    /// Tell the world: `ImportStateChanged`.
    StateChanged,
    /// Start the execution `{action}-{task}` of the state machine `maintenance`.
    StartMaintenance { task: TaskId, action: Action },
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

/// A message that this caller may deliver now.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub id: i64,
    pub job: JobId,
    pub message: Message,
}

/// Writes a message into the transaction that promises it.
pub async fn add(client: &Client, job: JobId, message: &Message) -> DbResult<i64> {
    let payload = message.payload();
    let params: &[Param<'_>] =
        &[(&job.0, Type::UUID), (&message.kind(), Type::TEXT), (&payload, Type::JSONB)];
    Ok(sql::OUTBOX_ADD.one(client, params).await?.get("id"))
}

/// Takes one message, or up to `limit` due ones, for half a minute.
pub async fn claim(client: &Client, id: Option<i64>, limit: i64) -> DbResult<Vec<Claimed>> {
    let rows = sql::OUTBOX_CLAIM.all(client, &[(&id, Type::INT8), (&limit, Type::INT8)]).await?;
    Ok(rows
        .iter()
        .filter_map(|row| {
            let message = Message::read(row.get("kind"), &row.get::<_, Value>("payload"))?;
            Some(Claimed { id: row.get("id"), job: JobId(row.get("job_id")), message })
        })
        .collect())
}

pub async fn delivered(client: &Client, id: i64) -> DbResult<()> {
    sql::OUTBOX_DELIVERED.run(client, &[(&id, Type::INT8)]).await.map(|_| ())
}

pub async fn failed(client: &Client, id: i64, error: &str) -> DbResult<()> {
    sql::OUTBOX_FAILED.run(client, &[(&id, Type::INT8), (&error, Type::TEXT)]).await.map(|_| ())
}
