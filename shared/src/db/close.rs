//! Ending a job: completed when its codes are in (or there were none), else failed, cancelled or expired.

use super::claims::lock_user;
use super::error::DbResult;
use super::outbox::{Claimed, Message};
use super::pool::{Connection, client};
use super::rows::Param;
use super::transaction::{Limits, begin, commit};
use super::{jobs, outbox, sql, tasks};
use crate::domain::ids::JobId;
use crate::domain::job::Status;
use serde_json::Value;
use tokio_postgres::types::Type;

/// How an execution says that it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Every step went through.
    Completed { note: Option<String> },
    /// It stopped; `status` is failed, cancelled or expired. `only_waiting`: unless somebody has approved meanwhile.
    Stopped { status: Status, message: Option<String>, errors: Value, only_waiting: bool },
}

/// What the job is afterwards, and what to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub status: Status,
    pub messages: Vec<i64>,
}

/// Brings a job to its end, once. An ending that comes too late, or from an attempt that is no longer current,
/// changes nothing and answers with what the job is. Codes that are in stay in: such a job is completed.
pub async fn close(
    connection: &mut Connection,
    job: JobId,
    attempt: i32,
    ending: &Ending,
) -> DbResult<Option<Closed>> {
    const NAME: &str = "close";
    let tx = begin(connection, NAME, Limits::short()).await?;
    lock_user(tx.client(), job).await?;
    let note = match ending {
        Ending::Completed { note } => note.clone(),
        Ending::Stopped { message, .. } => {
            message.as_ref().map(|m| format!("The codes are in production, but a later step failed: {m}"))
        }
    };
    let params: &[Param<'_>] = &[(&job.0, Type::UUID), (&attempt, Type::INT4), (&note, Type::TEXT)];
    let ended = match ending {
        Ending::Completed { .. } => {
            sql::JOBS_COMPLETE.opt(tx.client(), params).await?.map(|_| Status::Completed)
        }
        Ending::Stopped { status, message, errors, only_waiting } => {
            let ended = sql::JOBS_END
                .opt(
                    tx.client(),
                    &[
                        (&job.0, Type::UUID),
                        (&attempt, Type::INT4),
                        (&status.as_str(), Type::TEXT),
                        (message, Type::TEXT),
                        (errors, Type::JSONB),
                        (only_waiting, Type::BOOL),
                    ],
                )
                .await?;
            match ended {
                Some(row) => row.get::<_, &str>("status").parse().ok(),
                None => {
                    sql::JOBS_COMPLETE_INSERTED.opt(tx.client(), params).await?.map(|_| Status::Completed)
                }
            }
        }
    };
    let closed = match ended {
        Some(status) => {
            let mut messages = vec![outbox::add(tx.client(), job, &Message::StateChanged).await?];
            if status == Status::Completed {
                messages.extend(tasks::export_at_close(tx.client(), job).await?);
            }
            Some(Closed { status, messages })
        }
        None => jobs::find(tx.client(), job)
            .await?
            .map(|found| Closed { status: found.status, messages: Vec::new() }),
    };
    commit(tx, NAME).await?;
    Ok(closed)
}

/// Ends a job whose execution was refused for good, and with it the claim of its user.
pub async fn refused(connection: &mut Connection, start: &Claimed) -> DbResult<()> {
    if let Message::StartExecution { attempt } = start.message {
        let ending = Ending::Stopped {
            status: Status::Failed,
            message: Some("its execution could not be started".into()),
            errors: Value::Array(Vec::new()),
            only_waiting: false,
        };
        close(connection, start.job, attempt, &ending).await?;
    }
    // Twice is harmless: the second finds the job closed.
    outbox::delivered(client(connection), start.id).await
}
