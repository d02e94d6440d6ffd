//! The one atomic transaction: every clean code of a job enters production, or none does.

use super::error::DbError;
use super::pool::{Connection, Database, client};
use super::staging::{self, InsertedAround};
use super::transaction::{Limits, Transaction, begin, commit};
use super::validate::{out_of_time, too_late};
use super::watch::{Watch, Watched};
use super::{chunks, jobs, sql};
use crate::domain::ids::JobId;
use crate::domain::job::Status;
use crate::domain::pace::too_slow;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_postgres::types::Type;
use uuid::Uuid;

const NAME: &str = "insert";
const SORT: &str = "insert.sort";

/// What stopped the transaction, and what must be recorded once it is rolled back.
enum Stop {
    Lost(String),
    Moved(String),
    Error(StepError),
}

impl From<StepError> for Stop {
    fn from(error: StepError) -> Self {
        Self::Error(error)
    }
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        if error.is_missing_table() {
            Self::Lost("a table is gone".into())
        } else if error.is_timeout() {
            // Its bound is the time that the function has left: another try would have no more.
            Self::Error(out_of_time("the insert takes longer than the function may run"))
        } else {
            Self::Error(error.into())
        }
    }
}

/// Inserts the job's clean codes. Run again after it committed, it answers what it did the first time.
pub async fn insert_codes(
    db: &Database,
    job_id: JobId,
    attempt: i32,
    time_left: Duration,
) -> StepResult<jobs::Inserted> {
    let mut connection = db.connection().await?;
    let job = jobs::get(client(&connection), job_id).await?;
    if let (Some(done), true) = (job.inserted, job.attempt == attempt) {
        return Ok(done);
    }
    let job = jobs::expect(client(&connection), job_id, attempt, Status::Processing).await?;
    let watch = Watch::start(
        db.clone(),
        Watched { job: job_id, attempt, status: Status::Processing, step: "insert", part: 0 },
    );
    let mut ahead = Ahead::new(db, &job);
    let done = in_one_transaction(&mut connection, &job, &watch, &mut ahead, time_left).await;
    // A failure recorded in the transaction that rolls back would never be recorded: another one does.
    drop(connection);
    let done = match done {
        Ok(inserted) => Ok(inserted),
        Err(Stop::Lost(found)) => Err(jobs::staging_lost(db, job_id, attempt, &found).await),
        Err(Stop::Moved(found)) => Err(jobs::count_mismatch(db, job_id, attempt, &found).await),
        Err(Stop::Error(error)) => Err(error),
    };
    ahead.clean_up().await;
    done
}

async fn in_one_transaction(
    connection: &mut Connection,
    job: &jobs::Job,
    watch: &Watch,
    ahead: &mut Ahead<'_>,
    time_left: Duration,
) -> Result<jobs::Inserted, Stop> {
    let started = Instant::now();
    let mut tx = begin(connection, NAME, Limits::bulk(time_left)).await?;
    let lock = sql::MERCHANTS_TRY_LOCK.one(tx.client(), &[(&job.merchant.0, Type::UUID)]).await?;
    if !lock.get::<_, bool>("locked") {
        let message = "another insert of this merchant has not let go yet";
        return Err(StepError::new(StepErrorKind::Transient, message).into());
    }
    // Who held the lock before may have been this very step's ghost.
    let now = jobs::get(tx.client(), job.id).await?;
    if now.attempt != job.attempt || now.status != Status::Processing || now.inserted.is_some() {
        return match now.inserted {
            Some(done) if now.attempt == job.attempt => Ok(done),
            _ => Err(now.refusal(job.attempt, Status::Processing).into()),
        };
    }
    let epoch: i64 =
        sql::MERCHANTS_EPOCH.one(tx.client(), &[(&job.merchant.0, Type::UUID)]).await?.get("codes_epoch");
    if job.codes_epoch != Some(epoch) {
        return Err(Stop::Moved("another import was rolled back".into()));
    }
    let states = chunks::list(tx.client(), job).await?;
    let clean: i64 = states.iter().map(|state| state.clean).sum();
    if Some(clean) != job.clean || states.iter().any(|state| !state.marked) {
        return Err(StepError::internal(format!("the chunks of job {} do not add up", job.id)).into());
    }

    let mut total = jobs::Inserted { codes: 0, late: 0, checksum: job.clean_checksum.unwrap_or_default() };
    let states: Vec<&chunks::ChunkState> = states.iter().filter(|state| state.clean > 0).collect();
    if states.len() > 1 {
        ahead.begin().await;
    }
    let mut sorted = None;
    for (n, state) in states.iter().enumerate() {
        watch.check()?;
        check_pace(started.elapsed(), time_left, total.codes + total.late, clean)?;
        let (done, next) =
            tokio::join!(insert_chunk(&mut tx, job, state, sorted), ahead.sort(states.get(n + 1).copied()));
        let done = done?;
        sorted = next;
        if done.inserted + done.late != state.clean {
            return Err(Stop::Lost(format!(
                "chunk {} gave {} rows, {} were marked clean",
                state.chunk.number,
                done.inserted + done.late,
                state.clean
            )));
        }
        total.codes += done.inserted;
        total.late += done.late;
        total.checksum ^= done.late_checksum;
        if too_late(total.late, clean) {
            return Err(Stop::Moved(format!("{} of {clean} clean codes are there by now", total.late)));
        }
        watch.set_rows(total.codes);
    }
    finish(tx, job, total).await
}

/// Finds and sorts the clean rows of the next chunk on the second connection while one is inserted: work that the one
/// transaction then need not do. What fails here is done by the insert itself.
struct Ahead<'a> {
    db: &'a Database,
    job: &'a jobs::Job,
    /// 32 random bits, so that no run meets the tables of another.
    run: u64,
    begun: bool,
    given_up: bool,
}

/// How long an insert waits for what it could do itself. Less than the minute after which the server ends its idle
/// transaction.
const PATIENCE: Duration = Duration::from_secs(30);

impl<'a> Ahead<'a> {
    fn new(db: &'a Database, job: &'a jobs::Job) -> Self {
        let run = Uuid::now_v7().as_u64_pair().1 & 0xffff_ffff;
        Self { db, job, run, begun: false, given_up: false }
    }

    /// To be called under the merchant's lock: tables of other runs are of such as are over.
    async fn begin(&mut self) {
        self.drop_sorted(None).await;
        self.begun = true;
    }

    /// The run whose table has the chunk's rows.
    async fn sort(&mut self, next: Option<&chunks::ChunkState>) -> Option<u64> {
        let chunk = &next?.chunk;
        if self.given_up {
            return None;
        }
        match timeout(PATIENCE, self.sort_chunk(chunk)).await {
            Ok(Ok(())) => return Some(self.run),
            Ok(Err(error)) => {
                tracing::warn!(chunk = chunk.number, %error, causes = ?error.source, "not sorted ahead");
            }
            Err(_) => tracing::warn!(chunk = chunk.number, "not sorted ahead: no answer"),
        }
        self.given_up = true;
        None
    }

    async fn sort_chunk(&self, chunk: &staging::Chunk) -> StepResult<()> {
        let mut connection = self.db.connection().await?;
        let tx = begin(&mut connection, SORT, Limits::bulk(PATIENCE)).await?;
        staging::sort_clean(&tx, self.job.id, chunk, self.run).await?;
        // Whoever drops the workspace changes the job first: the table is there for them to see, or never.
        jobs::fence(tx.client(), self.job.id, self.job.attempt, Status::Processing).await?;
        Ok(commit(tx, SORT).await?)
    }

    /// To be called after COMMIT or ROLLBACK.
    async fn clean_up(&self) {
        if self.begun {
            self.drop_sorted(Some(self.run)).await;
        }
    }

    /// What stays behind goes with the next run, or with the workspace.
    async fn drop_sorted(&self, run: Option<u64>) {
        let dropped = async {
            let mut connection = self.db.connection().await?;
            let tx = begin(&mut connection, SORT, Limits::short()).await?;
            staging::drop_sorted(&tx, self.job.id, run).await?;
            commit(tx, SORT).await
        };
        match timeout(PATIENCE, dropped).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, causes = ?error.source, "sorted chunks stay behind"),
            Err(_) => tracing::warn!("sorted chunks stay behind: no answer"),
        }
    }
}

/// Plain INSERT under a savepoint; only where that meets a code that is there by now, once more around it.
async fn insert_chunk(
    tx: &mut Transaction<'_>,
    job: &jobs::Job,
    state: &chunks::ChunkState,
    sorted: Option<u64>,
) -> Result<InsertedAround, Stop> {
    let savepoint = tx.savepoint("chunk").await.map_err(|e| DbError::new("insert.savepoint", e))?;
    match staging::insert_clean(savepoint.client(), job.id, job.merchant.0, &state.chunk, sorted).await {
        Ok(inserted) => {
            savepoint.commit().await.map_err(|e| DbError::new("insert.release", e))?;
            let inserted = i64::try_from(inserted).unwrap_or(i64::MAX);
            Ok(InsertedAround { inserted, late: 0, late_checksum: 0 })
        }
        Err(error) if error.is_unique_violation() => {
            savepoint.rollback().await.map_err(|e| DbError::new("insert.rollback", e))?;
            let done = staging::insert_around(tx.client(), job.id, job.merchant.0, &state.chunk).await?;
            sql::CHUNKS_LATE
                .run(
                    tx.client(),
                    &[(&job.id.0, Type::UUID), (&state.chunk.number, Type::INT4), (&done.late, Type::INT8)],
                )
                .await?;
            Ok(done)
        }
        Err(error) => Err(error.into()),
    }
}

/// The guarded UPDATE and COMMIT. 0 rows: cancelled or superseded meanwhile, and nothing has happened.
async fn finish(tx: Transaction<'_>, job: &jobs::Job, total: jobs::Inserted) -> Result<jobs::Inserted, Stop> {
    let decided = sql::JOBS_INSERTED
        .run(
            tx.client(),
            &[
                (&job.id.0, Type::UUID),
                (&job.attempt, Type::INT4),
                (&total.codes, Type::INT8),
                (&total.late, Type::INT8),
                (&total.checksum, Type::INT8),
            ],
        )
        .await?;
    if decided != 1 {
        return Err(jobs::refusal(tx.client(), job.id, job.attempt, Status::Processing).await.into());
    }
    commit(tx, "insert.commit").await?;
    Ok(total)
}

/// Stops early what can't finish: an aborted insert of 14 minutes is 14 minutes of dead rows.
fn check_pace(elapsed: Duration, time_left: Duration, done: i64, all: i64) -> Result<(), Stop> {
    match too_slow(elapsed, time_left, done, all) {
        Some(rate) => Err(out_of_time(&format!(
            "inserting {all} codes at {rate:.0} rows/s takes longer than the function may run"
        ))
        .into()),
        None => Ok(()),
    }
}
