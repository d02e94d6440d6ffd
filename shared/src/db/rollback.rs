//! Taking an import back: one transaction deletes its codes, part by part of the heap, so that it knows its pace and
//! notices when it was given up.

use super::error::in_time;
use super::outbox::Message;
use super::pool::{Connection, Database, client};
use super::rows::Param;
use super::tasks::{self, Task};
use super::transaction::{Limits, begin, commit};
use super::watch::Watch;
use super::{outbox, sql};
use crate::domain::pace::too_slow;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use crate::domain::task::Claimed;
use std::time::{Duration, Instant};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

const NAME: &str = "rollback";
/// Blocks of the heap that are deleted in one statement: 64 MiB.
const PART_BLOCKS: i64 = 8192;

/// What a rollback did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolledBack {
    pub deleted: i64,
    /// Claimed since the import, and left where they are.
    pub kept: i64,
    /// What the import had inserted.
    pub original: i64,
}

impl RolledBack {
    /// Of a job that is rolled back.
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            deleted: row.get::<_, Option<i64>>("codes_deleted")?,
            kept: row.get::<_, Option<i64>>("codes_kept")?,
            original: row.get::<_, Option<i64>>("codes_inserted")?,
        })
    }
}

/// Deletes the job's codes, once. Run again after it committed, it answers what it did. Returns messages to deliver.
pub async fn roll_back(
    db: &Database,
    task: &Task,
    time_left: Duration,
) -> StepResult<(RolledBack, Vec<i64>)> {
    let mut connection = db.connection().await?;
    if let Some(done) = done_before(client(&connection), task).await? {
        return Ok((done, Vec::new()));
    }
    let watch = Watch::of_task(db.clone(), task.id, "rollback", 0);
    in_one_transaction(&mut connection, task, &watch, time_left).await
}

async fn done_before(client: &Client, task: &Task) -> StepResult<Option<RolledBack>> {
    let row = sql::ROLLBACK_STATE.one(client, &[(&task.job.0, Type::UUID)]).await?;
    match (row.get::<_, &str>("status"), row.get::<_, bool>("leased")) {
        ("rolled_back", _) => Ok(RolledBack::read(&row)),
        ("completed", true) => Ok(None),
        (status, _) => Err(StepError::new(
            StepErrorKind::Superseded,
            format!("job {} is {status}, and not being rolled back", task.job),
        )),
    }
}

async fn in_one_transaction(
    connection: &mut Connection,
    task: &Task,
    watch: &Watch,
    time_left: Duration,
) -> StepResult<(RolledBack, Vec<i64>)> {
    let started = Instant::now();
    let tx = begin(connection, NAME, Limits::bulk(time_left)).await?;
    let sql = tx.client();
    let lock = sql::MERCHANTS_TRY_LOCK.one(sql, &[(&task.merchant.0, Type::UUID)]).await?;
    if !lock.get::<_, bool>("locked") {
        let message = "an insert or a rollback of this merchant has not let go yet";
        return Err(StepError::new(StepErrorKind::Transient, message));
    }
    // Who held the lock before may have been this very step's ghost.
    if let Some(done) = done_before(sql, task).await? {
        return Ok((done, Vec::new()));
    }
    let all = task.claimed == Some(Claimed::Delete);
    let params: &[Param<'_>] = &[(&task.job.0, Type::UUID), (&PART_BLOCKS, Type::INT8)];
    let parts = in_time(sql::ROLLBACK_PARTS.all(sql, params).await)?;
    let due = |row: &Row| row.get::<_, i64>("codes") - if all { 0 } else { row.get::<_, i64>("claimed") };
    let total: i64 = parts.iter().map(due).sum();
    let mut deleted = 0;
    for part in parts.iter().filter(|part| due(part) > 0) {
        watch.check()?;
        if let Some(rate) = too_slow(started.elapsed(), time_left, deleted, total) {
            let message =
                format!("deleting {total} codes at {rate:.0} rows/s takes longer than the function may run");
            return Err(StepError::new(StepErrorKind::TimeBudgetExceeded, message));
        }
        deleted += delete_part(sql, task, part.get("part"), all).await?;
        watch.set_rows(deleted);
    }
    let params: &[Param<'_>] =
        &[(&task.job.0, Type::UUID), (&task.merchant.0, Type::UUID), (&all, Type::BOOL)];
    deleted += count(in_time(sql::ROLLBACK_DELETE_REST.run(sql, params).await)?);
    let kept: i64 = in_time(sql::ROLLBACK_KEPT.one(sql, &params[..2]).await)?.get("codes");
    watch.set_rows(deleted);

    // Lock order: merchant, then task, then job; and only now, for who reads or changes them meanwhile must not wait.
    sql::ROLLBACK_RAISE_EPOCH.run(sql, &[(&task.merchant.0, Type::UUID)]).await?;
    tasks::fence(sql, task.id).await?;
    let decided = sql::ROLLBACK_DONE
        .run(sql, &[(&task.job.0, Type::UUID), (&deleted, Type::INT8), (&kept, Type::INT8)])
        .await?;
    let row = sql::ROLLBACK_STATE.one(sql, &[(&task.job.0, Type::UUID)]).await?;
    let (1, Some(done)) = (decided, RolledBack::read(&row)) else {
        let message = format!("job {} is not being rolled back any more", task.job);
        return Err(StepError::new(StepErrorKind::Superseded, message));
    };
    let messages = vec![outbox::add(sql, task.job, &Message::StateChanged).await?];
    commit(tx, "rollback.commit").await?;
    if done.deleted + done.kept != done.original {
        let RolledBack { deleted, kept, original } = done;
        tracing::warn!(job_id = %task.job, deleted, kept, original, "the import had inserted another number of codes");
    }
    Ok((done, messages))
}

/// A range of blocks: a TID range scan, whatever the job's codes are mixed with.
async fn delete_part(client: &Client, task: &Task, part: i64, all: bool) -> StepResult<i64> {
    let (from, to) = (format!("({},0)", part * PART_BLOCKS), format!("({},0)", (part + 1) * PART_BLOCKS));
    let params: &[Param<'_>] = &[
        (&task.job.0, Type::UUID),
        (&task.merchant.0, Type::UUID),
        (&from, Type::TEXT),
        (&to, Type::TEXT),
        (&all, Type::BOOL),
    ];
    Ok(count(in_time(sql::ROLLBACK_DELETE_PART.run(client, params).await)?))
}

fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
