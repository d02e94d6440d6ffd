//! Starting an import over HTTP: queueing its job, and finding who is in the way.

use super::line::hand_over;
use super::open::max_rejects;
use super::statements as sql;
use crate::db::connection::Session;
use crate::db::decode::to_duration;
use crate::db::error::DbResult;
use crate::db::files;
use crate::db::outbox::{Message, Promises};
use crate::domain::field::Mapping;
use crate::domain::ids::{JobId, MerchantId, UserId};
use crate::domain::lease::{Holder, STUCK_AFTER};
use crate::domain::object::FrozenSource;
use crate::domain::source::{Options, SourceInfo};
use tokio_postgres::types::Json;

/// What an import is started with.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The new job.
    pub job: JobId,
    /// Whose codes it imports.
    pub merchant: MerchantId,
    /// Who starts it.
    pub user: UserId,
    /// What was asked, and through which door.
    pub source_info: SourceInfo,
    /// Every key that was asked for. They are kept unless the files are frozen.
    pub files_asked: Option<&'a [String]>,
    /// The mapping that was asked for.
    pub mapping: &'a Mapping,
    /// The options that were asked for.
    pub options: Options,
    /// The source, where it could be frozen; else opening the import freezes it.
    pub frozen: Option<&'a FrozenSource>,
}

/// How a new job comes by the merchant's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It has the lease at once, if nobody has it or waits for it. Insert it under the line's lock.
    Now,
    /// It takes the lease over from a job that it has superseded, before all who wait.
    TakesOver,
    /// Its execution joins the line.
    InLine,
}

/// Writes the job, and its files where they are known. `false`: another job has its place.
pub async fn insert_queued(on: &dyn Session, start: &Start<'_>, entry: Entry) -> DbResult<bool> {
    let fingerprint = start.frozen.map(|frozen| &frozen.fingerprint);
    let queued = sql::QUEUE
        .opt(
            on,
            &[
                &start.job,
                &start.merchant,
                &start.user,
                &Json(&start.source_info),
                &Json(start.mapping),
                &start.options.max_duplicate_ratio,
                &max_rejects(start.options),
                &(entry != Entry::InLine),
                &fingerprint,
                &(entry == Entry::TakesOver),
                &start.files_asked,
            ],
        )
        .await?;
    if queued.is_none() {
        return Ok(false);
    }
    if let Some(frozen) = start.frozen {
        files::insert(on, start.job, &frozen.objects).await?;
    }
    Ok(true)
}

/// Fences off the user's stuck job, and a silent job that holds the merchant's lease. Returns messages to deliver after the
/// commit, and how the new job comes by the lease.
pub async fn supersede(
    on: &dyn Session,
    start: &Start<'_>,
    stuck: Option<JobId>,
) -> DbResult<(Promises, Entry)> {
    let (mut promises, mut entry) = (Promises::none(), Entry::Now);
    for row in
        sql::SUPERSEDE.all(on, &[&stuck, &start.merchant, &start.job, &STUCK_AFTER.as_secs_f64()]).await?
    {
        let old = JobId(row.get("id"));
        if let Some(execution_arn) = row.get("execution_arn") {
            promises.promise(on, old, &Message::StopExecution { execution_arn }).await?;
        }
        promises.promise(on, old, &Message::StateChanged).await?;
        if MerchantId(row.get("merchant_id")) == start.merchant {
            entry = Entry::TakesOver;
        } else {
            // The user's stuck job worked for another merchant, whose line goes on.
            hand_over(on, old).await?;
            promises.extend(Promises::of_line(on, old).await?);
        }
    }
    Ok((promises, entry))
}

/// The job that imports the same source, or with `or_leased` the one that holds the merchant's lease or gets it next.
pub async fn find_holder(on: &dyn Session, start: &Start<'_>, or_leased: bool) -> DbResult<Option<Holder>> {
    let fingerprint = start.frozen.map(|frozen| &frozen.fingerprint);
    let row = sql::HOLDER.opt(on, &[&start.merchant, &fingerprint, &or_leased]).await?;
    Ok(row.map(|row| Holder {
        job: Some(JobId(row.get("id"))),
        started_at: row.get("started_at"),
        elapsed: to_duration(row.get("age_seconds")),
        stuck_in: Holder::stuck_in(to_duration(row.get("silent_seconds"))),
        no_start: false,
        waits_for_approval: row.get("waits_for_approval"),
    }))
}
