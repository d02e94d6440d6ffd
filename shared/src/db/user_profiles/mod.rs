//! The lease of a user: one import of theirs works at a time.

use super::connection::Session;
use super::decode::to_duration;
use super::error::DbResult;
use super::statement::statements;
use crate::domain::actor::Actor;
use crate::domain::ids::{JobId, UserId};
use crate::domain::lease::{Holder, STUCK_AFTER};
use std::time::Duration;
use uuid::Uuid;

statements! {
    "user_profiles":
    HOLD = "hold";
    LOCK = "lock";
    SHOW = "show";
    START_CLOCK = "start_clock";
    TAKE = "take";
}

/// What became of asking for a user's lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The new job has it.
    pub won: bool,
    /// The import that has it now.
    pub holder: Holder,
    /// How long the stuck import had worked that it was taken from.
    pub stuck: Option<Duration>,
    /// The job of that stuck import.
    pub stuck_job: Option<JobId>,
}

/// Takes the user's lease for a job, unless an import of theirs works and is not stuck. One statement decides, by the
/// database's clock.
pub async fn take(on: &dyn Session, user: UserId, job: JobId) -> DbResult<Taken> {
    let row = TAKE.one(on, &[&user, &job, &STUCK_AFTER.as_secs_f64()]).await?;
    let was_stuck = row.get::<_, Option<bool>>("was_stuck").unwrap_or_default();
    let stuck_job = row.get::<_, Option<Uuid>>("before_job_id").filter(|_| was_stuck).map(JobId);
    Ok(Taken {
        won: row.get("won"),
        holder: Holder {
            job: row.get::<_, Option<Uuid>>("job_id").map(JobId),
            started_at: row.get("started_at"),
            elapsed: to_duration(row.get("age_seconds")),
            stuck_in: Holder::stuck_in(to_duration(row.get("silent_seconds"))),
            no_start: row.get("no_start"),
            waits_for_approval: false,
        },
        stuck: was_stuck.then(|| to_duration(row.get("before_age_seconds"))),
        stuck_job,
    })
}

/// Starts the clock of an import that has no start. `false`: it has one.
pub async fn start_clock(on: &dyn Session, user: UserId) -> DbResult<bool> {
    START_CLOCK.run_guarded(on, &[&user]).await
}

/// A user's own import, for a page that loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImport {
    /// `idle`, or as `user_profiles.import_status` says.
    pub status: String,
    /// Its job.
    pub job: Option<JobId>,
    /// How long it has worked.
    pub elapsed: Option<Duration>,
}

/// Reads the user's own import.
pub async fn find_own(on: &dyn Session, user: UserId) -> DbResult<OwnImport> {
    let row = SHOW.opt(on, &[&user]).await?;
    let Some(row) = row else { return Ok(OwnImport { status: "idle".into(), job: None, elapsed: None }) };
    let status: String = row.get("import_status");
    Ok(OwnImport {
        elapsed: (status == "processing").then(|| to_duration(row.get("age_seconds"))),
        status,
        job: row.get::<_, Option<Uuid>>("job_id").map(JobId),
    })
}

/// What became of a user's lease when their job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The job has it, or needs none.
    Held,
    /// The user is importing something else.
    Busy(Option<JobId>),
}

/// Takes the lease of the job's user again, before an approval or a retry. Locks the user's row.
pub async fn hold(on: &dyn Session, job: JobId, actor: &Actor) -> DbResult<Hold> {
    Ok(match HOLD.opt(on, &[&job, &actor.merchant_ids()]).await? {
        Some(row) if !row.get::<_, bool>("held") => {
            Hold::Busy(row.get::<_, Option<Uuid>>("job_id").map(JobId))
        }
        _ => Hold::Held,
    })
}

/// Locks the row of the job's user, if it has one, before the job's. Lock order: user, merchant, job.
pub async fn lock(on: &dyn Session, job: JobId) -> DbResult<()> {
    LOCK.opt(on, &[&job]).await.map(drop)
}
