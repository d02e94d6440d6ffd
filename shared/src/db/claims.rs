//! Who imports: the 409 guard per user and per merchant, and migrations that run once. Each decision is one statement
//! or a constraint; whoever loses learns who holds what they wanted.

use super::error::{DbError, DbResult};
use super::files::{self, FrozenObject};
use super::outbox::{self, Message};
use super::rows::Param;
use super::sql;
use super::transaction::Transaction;
use crate::domain::ids::{JobId, MerchantId, UserId};
use crate::domain::source::{Mapping, Options};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::types::{Json, Type};
use uuid::Uuid;

/// An import of which nothing was heard for so long is stuck and may be superseded (`user_profiles.claim`).
pub const STUCK: Duration = Duration::from_secs(15 * 60);

/// What an import is started with.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    pub job: JobId,
    pub merchant: MerchantId,
    pub user: UserId,
    pub source_info: Value,
    pub mapping: &'a Mapping,
    pub options: Options,
    /// The objects in order of their keys and their fingerprint, where they could be listed; else the opening does it.
    pub frozen: Option<&'a (Vec<FrozenObject>, String)>,
}

/// Who holds what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    pub job: Option<JobId>,
    pub started_at: Option<DateTime<Utc>>,
    pub elapsed: Duration,
    /// When it will be stuck if nothing more is heard of it.
    pub stuck_in: Duration,
    /// It had no start: it gets one by `start_clock`.
    pub no_start: bool,
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    Started {
        messages: Vec<i64>,
        stuck: Option<Duration>,
    },
    Held(Holder),
    /// What was in the way has just ended.
    TryAgain,
}

/// Claims the user's and the merchant's lease and queues the import, or says who holds them.
/// Unless it is `Started`, the transaction must be rolled back.
pub async fn queue(tx: &mut Transaction<'_>, start: &Start<'_>) -> DbResult<Claimed> {
    let client = tx.client();
    let params: &[Param<'_>] = &[(&start.user.0, Type::UUID), (&start.job.0, Type::UUID)];
    let claim = sql::USER_PROFILES_CLAIM.one(client, params).await?;
    if !claim.get::<_, bool>("won") {
        let started_at: Option<DateTime<Utc>> = claim.get("processing_started_at");
        return Ok(Claimed::Held(Holder {
            job: claim.get::<_, Option<Uuid>>("job_id").map(JobId),
            started_at,
            elapsed: seconds(claim.get("age_seconds")),
            stuck_in: STUCK.saturating_sub(seconds(claim.get("silent_seconds"))),
            no_start: started_at.is_none(),
        }));
    }
    let was_stuck = claim.get::<_, Option<bool>>("was_stuck").unwrap_or_default();
    let stuck_job = claim.get::<_, Option<Uuid>>("before_job_id").filter(|_| was_stuck);
    let stuck = was_stuck.then(|| seconds(claim.get("before_age_seconds")));
    let mut messages = supersede(client, start, stuck_job).await?;
    if !insert(client, start, true).await? {
        let held = in_the_way(client, start, true).await?;
        return Ok(held.map_or(Claimed::TryAgain, Claimed::Held));
    }
    messages.push(outbox::add(client, start.job, &Message::StartExecution { attempt: 1 }).await?);
    Ok(Claimed::Started { messages, stuck })
}

/// Fences off the user's stuck job and a silent holder of the merchant's lease.
async fn supersede(client: &Client, start: &Start<'_>, stuck: Option<Uuid>) -> DbResult<Vec<i64>> {
    let params: &[Param<'_>] =
        &[(&stuck, Type::UUID), (&start.merchant.0, Type::UUID), (&start.job.0, Type::UUID)];
    let mut messages = Vec::new();
    for row in sql::JOBS_SUPERSEDE.all(client, params).await? {
        let old = JobId(row.get("id"));
        if let Some(execution_arn) = row.get("execution_arn") {
            messages.push(outbox::add(client, old, &Message::StopExecution { execution_arn }).await?);
        }
        messages.push(outbox::add(client, old, &Message::StateChanged).await?);
    }
    Ok(messages)
}

/// Writes the job, and its files where they are known. False: an index says that somebody else has its place.
async fn insert(client: &Client, start: &Start<'_>, leased: bool) -> DbResult<bool> {
    let max_rejects = i32::try_from(start.options.max_rejects).unwrap_or(i32::MAX);
    let fingerprint = start.frozen.map(|(_, fingerprint)| fingerprint);
    let params: &[Param<'_>] = &[
        (&start.job.0, Type::UUID),
        (&start.merchant.0, Type::UUID),
        (&start.user.0, Type::UUID),
        (&start.source_info, Type::JSONB),
        (&Json(start.mapping), Type::JSONB),
        (&start.options.max_duplicate_ratio, Type::FLOAT8),
        (&max_rejects, Type::INT4),
        (&leased, Type::BOOL),
        (&fingerprint, Type::TEXT),
    ];
    if sql::JOBS_QUEUE.opt(client, params).await?.is_none() {
        return Ok(false);
    }
    if let Some((objects, _)) = start.frozen {
        files::insert(client, start.job, objects).await?;
    }
    Ok(true)
}

async fn in_the_way(client: &Client, start: &Start<'_>, or_leased: bool) -> DbResult<Option<Holder>> {
    let fingerprint = start.frozen.map(|(_, fingerprint)| fingerprint);
    let params: &[Param<'_>] =
        &[(&start.merchant.0, Type::UUID), (&fingerprint, Type::TEXT), (&or_leased, Type::BOOL)];
    let row = sql::JOBS_IN_THE_WAY.opt(client, params).await?;
    Ok(row.map(|row| Holder {
        job: Some(JobId(row.get("id"))),
        started_at: row.get("started_at"),
        elapsed: seconds(row.get("age_seconds")),
        stuck_in: STUCK.saturating_sub(seconds(row.get("silent_seconds"))),
        no_start: false,
    }))
}

/// Gives an import without a start one, outside of the request that was refused.
pub async fn start_clock(client: &Client, user: UserId) -> DbResult<()> {
    sql::USER_PROFILES_START_CLOCK.run(client, &[(&user.0, Type::UUID)]).await.map(|_| ())
}

/// A user's own import, for a page that loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub status: String,
    pub job: Option<JobId>,
    pub elapsed: Option<Duration>,
}

pub async fn own(client: &Client, user: UserId) -> DbResult<Own> {
    let row = sql::USER_PROFILES_SHOW.opt(client, &[(&user.0, Type::UUID)]).await?;
    let Some(row) = row else { return Ok(Own { status: "idle".into(), job: None, elapsed: None }) };
    let status: String = row.get("import_status");
    Ok(Own {
        elapsed: (status == "processing").then(|| seconds(row.get("age_seconds"))),
        status,
        job: row.get::<_, Option<Uuid>>("job_id").map(JobId),
    })
}

/// What became of a migration. Unless it is `Started`, nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migration {
    Started { messages: Vec<i64> },
    Running(JobId),
    TryAgain,
}

/// Starts a migration, or finds the one that is active for the same user, merchant, mapping and content.
pub async fn run_migration(
    tx: &mut Transaction<'_>,
    start: &Start<'_>,
    base_key: &str,
) -> DbResult<Migration> {
    const NAME: &str = "migration";
    let savepoint = tx.savepoint(NAME).await.map_err(|e| DbError::new(NAME, e))?;
    let client = savepoint.client();
    // UUIDv7: time-ordered, so that the runs of one base key sort.
    let key = format!("{base_key}_{}", start.job);
    let params: &[Param<'_>] = &[
        (&start.job.0, Type::UUID),
        (&start.user.0, Type::UUID),
        (&start.merchant.0, Type::UUID),
        (&base_key, Type::TEXT),
        (&key, Type::TEXT),
        (&Json(start.mapping), Type::JSONB),
    ];
    let first = sql::MIGRATION_JOBS_RUN.opt(client, params).await?.is_some();
    if first && insert(client, start, false).await? {
        let message = outbox::add(client, start.job, &Message::StartExecution { attempt: 1 }).await?;
        savepoint.commit().await.map_err(|e| DbError::new(NAME, e))?;
        return Ok(Migration::Started { messages: vec![message] });
    }
    savepoint.rollback().await.map_err(|e| DbError::new(NAME, e))?;
    let active = if first {
        // The same objects through another door, or by another user of the merchant.
        in_the_way(tx.client(), start, false).await?.and_then(|holder| holder.job)
    } else {
        let row = sql::MIGRATION_JOBS_ACTIVE.opt(tx.client(), &[(&base_key, Type::TEXT)]).await?;
        row.map(|row| JobId(row.get("id")))
    };
    Ok(active.map_or(Migration::TryAgain, Migration::Running))
}

/// What became of a user's lease when their job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Held,
    /// The user is importing something else.
    Busy(Option<JobId>),
}

/// Takes the lease of the job's user again, before an approval or a retry. Locks the user's row.
pub async fn hold(client: &Client, job: JobId, merchants: &[Uuid]) -> DbResult<Hold> {
    let params: &[Param<'_>] = &[(&job.0, Type::UUID), (&merchants, Type::UUID_ARRAY)];
    Ok(match sql::USER_PROFILES_HOLD.opt(client, params).await? {
        Some(row) if !row.get::<_, bool>("held") => {
            Hold::Busy(row.get::<_, Option<Uuid>>("job_id").map(JobId))
        }
        _ => Hold::Held,
    })
}

/// Locks the row of the job's user, before the job's. Lock order: user, merchant, job.
pub async fn lock_user(client: &Client, job: JobId) -> DbResult<()> {
    sql::USER_PROFILES_LOCK.opt(client, &[(&job.0, Type::UUID)]).await.map(|_| ())
}

fn seconds(value: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(value.unwrap_or_default()).unwrap_or_default()
}
