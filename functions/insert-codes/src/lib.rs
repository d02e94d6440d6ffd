//! Inserts an approved import in one atomic transaction: all of its clean codes enter production, or none does.

mod ahead;
mod chunks;
mod preconditions;
mod stop;

use ahead::SortAhead;
use serde::{Deserialize, Serialize};
use shared::db::jobs::{self, Inserted, Job};
use shared::db::progress::{Part, Watch};
use shared::db::{Connection, Database, Limits, Transaction};
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::StepResult;
use shared::lambda::{App, Budget};
use std::time::Duration;
use stop::Stop;

/// One attempt of a job.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    pub attempt: i32,
}

/// What was inserted. The names are those that operators' scripts know.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    pub success: bool,
    pub job_id: JobId,
    pub codes_inserted: i64,
    pub late_duplicates: i64,
    pub message: String,
}

/// How many connections to the database it holds. One inserts, one sorts the next chunk ahead, one reports progress.
pub const CONNECTIONS: usize = 3;

/// The handler. Called again after its transaction has committed, it returns what it returned the first time.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let inserted = insert(&app.db, input, budget.left()).await?;
    Ok(Output {
        success: true,
        job_id: input.job_id,
        codes_inserted: inserted.codes,
        late_duplicates: inserted.late,
        message: format!("Successfully inserted {} clean codes to production", inserted.codes),
    })
}

async fn insert(db: &Database, input: Input, time_left: Duration) -> StepResult<Inserted> {
    let Input { job_id, attempt } = input;
    let connection = db.connection().await?;
    // `false`: inserted before, or somebody else decided; the job itself tells which.
    let begun = jobs::begin_inserting(&connection, job_id, attempt).await?;
    let job = jobs::get(&connection, job_id).await?;
    if let (Some(done), true) = (job.inserted, job.attempt == attempt) {
        return Ok(done);
    }
    if !begun || job.attempt != attempt || job.status != Status::Processing || job.cancel_requested {
        return Err(job.refusal(attempt, Status::Processing));
    }
    let watch = Watch::of_step(db, &job, Some(Part { step: "insert", number: 0 }));
    let mut ahead = SortAhead::new(db, &job);
    let done = match insert_atomically(connection, &job, &watch, &mut ahead, time_left).await {
        Ok(inserted) => Ok(inserted),
        Err(stop) => Err(stop.record(db, &job).await),
    };
    ahead.finish().await;
    done
}

/// The one transaction, from BEGIN to COMMIT or ROLLBACK.
async fn insert_atomically(
    mut connection: Connection,
    job: &Job,
    watch: &Watch,
    ahead: &mut SortAhead<'_>,
    time_left: Duration,
) -> Result<Inserted, Stop> {
    let mut tx = connection.begin("insert", Limits::bulk(time_left)).await?;
    let outcome = insert_all(&mut tx, job, watch, ahead, time_left).await;
    tx.settle(outcome).await
}

/// Everything between BEGIN and COMMIT.
async fn insert_all(
    tx: &mut Transaction<'_>,
    job: &Job,
    watch: &Watch,
    ahead: &mut SortAhead<'_>,
    time_left: Duration,
) -> Result<Inserted, Stop> {
    preconditions::lock_merchant(tx, job).await?;
    if let Some(done) = preconditions::find_inserted(tx, job).await? {
        return Ok(done);
    }
    preconditions::check_epoch(tx, job).await?;
    let marked = preconditions::list_marked(tx, job).await?;
    let total = chunks::insert_chunks(tx, job, &marked, watch, ahead, time_left).await?;
    record(tx, job, total).await?;
    Ok(total)
}

/// The guarded UPDATE that decides. If it finds no row, somebody cancelled or superseded the import meanwhile, and
/// nothing has happened.
async fn record(tx: &Transaction<'_>, job: &Job, total: Inserted) -> Result<(), Stop> {
    if jobs::record_inserted(tx, job.id, job.attempt, total).await? {
        return Ok(());
    }
    Err(jobs::explain_refusal(tx, job.id, job.attempt, Status::Processing).await.into())
}
