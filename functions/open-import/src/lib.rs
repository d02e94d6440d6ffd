//! Opens an import: registers the job, freezes its files, reads every header, takes the merchant's lease and makes the
//! staging workspace. It can be repeated at any point: each part finds what it has done before. Called with a task token, it puts
//! the execution to sleep in line for the lease.

pub mod disk;
mod freeze;
mod headers;
mod input;
mod line;
mod manifest;
mod missing;
mod sample;
mod staging;
mod start;
mod upload;

use disk::{Contents, Needed};
use serde::{Deserialize, Serialize};
use shared::db::files::{self, ImportFile};
use shared::db::jobs::{self, Job};
use shared::db::progress::Watch;
use shared::domain::buckets;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::domain::token::{TaskToken, TokenOrder};
use shared::lambda::{App, Budget};

/// What the state machine sends: the execution's own input and name; while it waits for the merchant, the token that wakes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub input: serde_json::Value,
    pub execution_arn: String,
    #[serde(default)]
    pub task_token: Option<String>,
    /// Which call of the waiting state brings the token.
    #[serde(default)]
    pub token_order: Option<TokenOrder>,
}

/// What the state machine does next.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum Output {
    /// Load these files, then mark.
    Load {
        job_id: JobId,
        attempt: i32,
        files: Vec<i32>,
        load_concurrency: u32,
        mark_concurrency: u32,
        approval_timeout_seconds: u64,
    },
    /// Another import of the merchant works, or is first in line: sleep until it is this one's turn, then open again.
    Wait { job_id: JobId, attempt: i32 },
    /// Another execution has this upload, it is no file, or the job is over: nothing to do.
    Nothing { job_id: Option<JobId>, reason: &'static str },
}

/// How many connections to the database it holds. Its statements are short, and between them it beats.
pub const CONNECTIONS: usize = 1;

/// The handler.
pub async fn handle(app: App, input: Input, _budget: Budget) -> StepResult<Output> {
    let job = match start::find_job(&app, &input).await? {
        start::Start::Mine(job) => *job,
        start::Start::Nothing { job, reason } => return Ok(Output::Nothing { job_id: job, reason }),
    };
    match input.task_token {
        None => open(&app, job).await,
        Some(token) => line::sleep(&app, &job, TaskToken { token: &token, order: input.token_order }).await,
    }
}

/// Brings a registered job to where its files can be loaded.
async fn open(app: &App, job: Job) -> StepResult<Output> {
    if job.cancel_requested || job.status == Status::Cancelled {
        return Err(job.refusal(job.attempt, Status::Loading));
    }
    if job.status.is_final() {
        return Ok(Output::Nothing { job_id: Some(job.id), reason: "the job is over" });
    }
    if !matches!(job.status, Status::Pending | Status::Loading) {
        return Err(job.refusal(job.attempt, Status::Loading));
    }
    if job.restage_count > jobs::MAX_WAYS_BACK {
        let message = format!("staging was lost {} times; is the database restarting?", job.restage_count);
        return Err(StepError::new(StepErrorKind::StagingLost, message));
    }
    // Many heads take their time. No statement waits meanwhile, so work and beats take turns on the one connection.
    let watch = Watch::of_step(&app.db, &job, None);
    let job = if job.frozen { job } else { freeze::freeze(app, &job).await? };
    let mut listed = list_files(app, &job).await?;
    let missing = missing::look_again(app, &job, &listed).await?;
    if missing.any_found {
        listed = list_files(app, &job).await?;
    }
    let taken: Vec<&ImportFile> = listed.iter().filter(|file| !file.is_left_out()).collect();
    // Once staging is cut, only files that replace others are new.
    let new = taken.iter().copied().filter(|file| job.split_points.is_none() || file.layout.is_none());
    let heads =
        headers::inspect_all(app, &job, &new.collect::<Vec<_>>(), &missing.faults, taken.len()).await?;
    let contents = |file: &&ImportFile| Contents::of(file, heads.densities.get(&file.file_no).copied());
    let all = disk::sum(taken.iter().map(contents));
    let to_load = disk::sum(taken.iter().filter(|file| !file.is_loaded()).map(contents));
    disk::check(app, &job, Needed::for_files(all, to_load)).await?;
    let cut = || buckets::split_points(heads.sample, buckets::bucket_count(all.text));
    let split_points = job.split_points.clone().unwrap_or_else(cut);
    drop(watch);
    if line::take_merchant(app, &job, &split_points).await? == line::Lease::Busy {
        return Ok(Output::Wait { job_id: job.id, attempt: job.attempt });
    }
    staging::create(app, &job, split_points.len() + 1).await?;
    Ok(Output::Load {
        job_id: job.id,
        attempt: job.attempt,
        files: listed.iter().filter(|file| !file.is_loaded()).map(|file| file.file_no).collect(),
        load_concurrency: app.config.load_concurrency,
        mark_concurrency: app.config.mark_concurrency,
        approval_timeout_seconds: app.config.approval_timeout.as_secs(),
    })
}

async fn list_files(app: &App, job: &Job) -> StepResult<Vec<ImportFile>> {
    Ok(files::list(&app.db.connection().await?, job.id).await?)
}
