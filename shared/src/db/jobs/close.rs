//! Ending an import: completed when its codes are in or there were none, else failed, cancelled or expired. The lease goes to the
//! next in line.

use super::{find, statements as sql};
use crate::db::connection::{Connection, Session};
use crate::db::decode::read_word;
use crate::db::error::DbResult;
use crate::db::outbox::{self, Due, Message, Promises};
use crate::db::statement::Statement;
use crate::db::transaction::{Limits, Transaction};
use crate::db::{merchants, tasks, user_profiles};
use crate::domain::ids::JobId;
use crate::domain::status::Status;
use serde_json::Value;

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Every step went through.
    Completed {
        /// What the job says about it.
        note: Option<String>,
    },
    /// It stopped.
    Stopped {
        /// Failed, cancelled or expired.
        status: Status,
        /// Why.
        message: Option<String>,
        /// For `validation_errors`, unless empty.
        errors: Value,
        /// Only while the job waits for an approval.
        only_waiting: bool,
    },
}

/// What the job is afterwards, and what its end has promised.
#[derive(Debug)]
pub struct Closed {
    /// The job's state now.
    pub status: Status,
    /// Messages to deliver; none if it had ended before.
    pub promises: Promises,
}

/// Brings a job to its end, once. An ending that comes too late, or from an attempt that is no longer current,
/// changes nothing and returns what the job is. Codes that are in stay in: such a job is completed.
pub async fn close(
    connection: &mut Connection,
    job: JobId,
    attempt: i32,
    ending: &Ending,
) -> DbResult<Option<Closed>> {
    let tx = connection.begin("close", Limits::short()).await?;
    // Lock order: user, merchant, job.
    user_profiles::lock(&tx, job).await?;
    merchants::lock_line_of(&tx, job).await?;
    let closed = match end(&tx, job, attempt, ending).await? {
        Some(status) => {
            // First: the next in line waits for it.
            let mut promises = Promises::of_line(&tx, job).await?;
            promises.promise(&tx, job, &Message::StateChanged).await?;
            if status == Status::Completed {
                promises.extend(tasks::export_at_close(&tx, job).await?);
            }
            Some(Closed { status, promises })
        }
        None => {
            let found = find(&tx, job).await?;
            found.map(|found| Closed { status: found.status, promises: Promises::none() })
        }
    };
    tx.commit().await?;
    Ok(closed)
}

/// The state that the job has entered, if this was its end.
async fn end(tx: &Transaction<'_>, job: JobId, attempt: i32, ending: &Ending) -> DbResult<Option<Status>> {
    let Ending::Stopped { status, message, errors, only_waiting } = ending else {
        return complete(tx, &sql::COMPLETE, job, attempt, ending.note().as_deref()).await;
    };
    let ended = sql::END.opt(tx, &[&job, &attempt, status, message, errors, only_waiting]).await?;
    match ended {
        Some(row) => read_word(&row, "status").map(Some),
        None => complete(tx, &sql::COMPLETE_INSERTED, job, attempt, ending.note().as_deref()).await,
    }
}

async fn complete(
    on: &dyn Session,
    statement: &Statement,
    job: JobId,
    attempt: i32,
    note: Option<&str>,
) -> DbResult<Option<Status>> {
    let completed = statement.opt(on, &[&job, &attempt, &note]).await?;
    Ok(completed.map(|_| Status::Completed))
}

impl Ending {
    /// A failure with this message.
    pub fn failed(message: &str) -> Self {
        Self::Stopped {
            status: Status::Failed,
            message: Some(message.to_owned()),
            errors: Value::Array(Vec::new()),
            only_waiting: false,
        }
    }

    /// What a completed job says about its end.
    fn note(&self) -> Option<String> {
        match self {
            Self::Completed { note } => note.clone(),
            Self::Stopped { message, .. } => {
                let message = message.as_ref()?;
                Some(format!("The codes are in production, but a later step failed: {message}"))
            }
        }
    }
}

/// Ends a job whose execution was refused for good, and with it the lease of its user.
pub async fn close_refused(connection: &mut Connection, due: &Due) -> DbResult<()> {
    if let Some(Message::StartExecution { attempt }) = due.message {
        let ending = Ending::failed(
            "its execution could not be started: Step Functions refuses it, and the log says why; mend that, then retry",
        );
        // The sweep delivers what this promises.
        if let Some(closed) = close(connection, due.job, attempt, &ending).await? {
            closed.promises.leave_to_sweep();
        }
    }
    // Twice is harmless: the second finds the job closed.
    outbox::record_given_up(connection, due.id).await.map(drop)
}
