//! Effects outside the database, promised by the transaction that made them due.

use super::connection::Session;
use super::decode::to_duration;
use super::error::{DbError, DbResult};
use super::statement::{Statement, statements};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::message::Kind;
use crate::domain::task::Action;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

statements! {
    "outbox":
    ADD = "add";
    DELETE_SETTLED = "delete_settled";
    DELIVERED = "delivered";
    FAILED = "failed";
    GIVEN_UP = "given_up";
    LINE = "line";
    ON_ITS_WAY = "on_its_way";
    START = "start";
    TAKE = "take";
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
    fn kind(&self) -> Kind {
        match self {
            Self::StartExecution { .. } => Kind::StartExecution,
            Self::StopExecution { .. } => Kind::StopExecution,
            Self::TaskSuccess { .. } => Kind::TaskSuccess,
            Self::TaskFailure { .. } => Kind::TaskFailure,
            Self::StateChanged => Kind::StateChanged,
            Self::StartMaintenance { .. } => Kind::StartMaintenance,
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

    fn read(kind: Kind, payload: &Value) -> Option<Self> {
        let attempt = || payload["attempt"].as_i64().and_then(|n| i32::try_from(n).ok());
        let text = |name: &str| payload[name].as_str().map(str::to_owned);
        Some(match kind {
            Kind::StartExecution => Self::StartExecution { attempt: attempt()? },
            Kind::TaskSuccess => Self::TaskSuccess { attempt: attempt()? },
            Kind::StopExecution => Self::StopExecution { execution_arn: text("execution_arn")? },
            Kind::TaskFailure => Self::TaskFailure { token: text("token")? },
            Kind::StateChanged => Self::StateChanged,
            Kind::StartMaintenance => Self::StartMaintenance {
                task: TaskId(payload["task_id"].as_str().and_then(|id| Uuid::try_parse(id).ok())?),
                action: payload["action"].as_str().and_then(Action::by_name)?,
            },
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
        statement.all(on, &[&job]).await.map(|rows| Self::of_rows(&rows))
    }

    /// The messages that a statement has written, by their ids.
    pub(in crate::db) fn of_rows(rows: &[Row]) -> Self {
        Self(rows.iter().map(|row| row.get("id")).collect())
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

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.0.len()
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

/// A message that this caller delivers now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its row.
    pub id: i64,
    /// The job that it is about.
    pub job: JobId,
    /// What kind it is.
    pub kind: Kind,
    /// What is to be done; `None` if the payload can't be read.
    pub message: Option<Message>,
    /// How long ago it was promised.
    pub age: Duration,
}

impl Due {
    fn read(row: &Row) -> DbResult<Self> {
        let kind: &str = row.get("kind");
        let kind = Kind::by_name(kind)
            .ok_or_else(|| DbError::defect("outbox.read", format!("`{kind}` is no kind of a message")))?;
        Ok(Self {
            id: row.get("id"),
            job: JobId(row.get("job_id")),
            kind,
            message: Message::read(kind, &row.get::<_, Value>("payload")),
            age: to_duration(row.get("age_seconds")),
        })
    }

    fn read_all(rows: &[Row]) -> DbResult<Vec<Self>> {
        let mut due: Vec<Self> = rows.iter().map(Self::read).collect::<DbResult<_>>()?;
        due.sort_by_key(|due| due.id);
        Ok(due)
    }
}

/// Takes those of these messages that are due and of these kinds, for half a minute.
pub async fn take(on: &dyn Session, ids: &[i64], kinds: &[Kind]) -> DbResult<Vec<Due>> {
    Due::read_all(&TAKE.all(on, &[&ids, &kinds]).await?)
}

/// Takes up to `limit` due messages of these kinds for a minute, one of each merchant in turn.
pub async fn take_due(on: &dyn Session, kinds: &[Kind], limit: i64) -> DbResult<Vec<Due>> {
    Due::read_all(&TAKE_DUE.all(on, &[&kinds, &limit]).await?)
}

/// Whether this message of the job will be delivered, or was delivered less than ten minutes ago.
pub async fn is_on_its_way(on: &dyn Session, job: JobId, message: &Message) -> DbResult<bool> {
    let row = ON_ITS_WAY.one(on, &[&job, &message.kind(), &message.payload()]).await?;
    Ok(row.get("on_its_way"))
}

/// Notes that a message was delivered.
pub async fn record_delivered(on: &dyn Session, id: i64) -> DbResult<()> {
    DELIVERED.run_one(on, &[&id]).await
}

/// Notes why a message could not be delivered; it is due again after 10 seconds, 20, 40 and so on, at most 5 minutes.
/// `false`: somebody else has delivered it meanwhile.
pub async fn record_failed(on: &dyn Session, id: i64, error: &str) -> DbResult<bool> {
    FAILED.run_guarded(on, &[&id, &error]).await
}

/// Notes that a message will not be delivered. `false`: somebody else has delivered it or given it up.
pub async fn record_given_up(on: &dyn Session, id: i64) -> DbResult<bool> {
    GIVEN_UP.run_guarded(on, &[&id]).await
}

/// Deletes messages that were delivered or given up and are older than a week. Returns how many.
pub async fn delete_settled(on: &dyn Session, batch: u32) -> DbResult<u64> {
    DELETE_SETTLED.run_many(on, &[&i64::from(batch)]).await
}
