//! Sorts the clean codes of the next chunk on another connection while one is inserted. The one transaction has one backend,
//! which then need not do it. It is only an optimisation: what is not sorted ahead, the insert sorts itself.

use shared::db::jobs::{self, Job};
use shared::db::staging::sort::{self, SortRun};
use shared::db::{Database, DbResult, Limits};
use shared::domain::buckets::Chunk;
use shared::domain::status::Status;
use shared::domain::step::StepResult;
use std::time::Duration;
use tokio::time::timeout;

/// How long the insert waits for what it could do itself. Less than the minute after which the server ends its idle
/// transaction.
const PATIENCE: Duration = Duration::from_secs(30);
const NAME: &str = "insert.sort";

/// Sorts the chunks of one insert ahead.
pub(crate) struct SortAhead<'a> {
    db: &'a Database,
    job: &'a Job,
    run: SortRun,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No table was made.
    Idle,
    Sorting,
    /// One chunk failed. The insert goes on, and sorts the rest itself.
    GivenUp,
}

impl<'a> SortAhead<'a> {
    /// For one run of the insert.
    pub(crate) fn new(db: &'a Database, job: &'a Job) -> Self {
        Self { db, job, run: SortRun::random(), state: State::Idle }
    }

    /// Begins. The caller holds the merchant's lock, so every earlier run has ended, and its tables are of no use.
    pub(crate) async fn begin(&mut self) {
        self.drop_tables(None).await;
        self.state = State::Sorting;
    }

    /// Sorts the chunk, if there is one. Returns the run whose table now holds its clean codes.
    pub(crate) async fn sort(&mut self, chunk: Option<&Chunk>) -> Option<SortRun> {
        let chunk = chunk.filter(|_| self.state == State::Sorting)?;
        match timeout(PATIENCE, self.try_sort(chunk)).await {
            Ok(Ok(())) => return Some(self.run),
            Ok(Err(error)) => {
                tracing::warn!(chunk = chunk.number, %error, source = ?error.source, "not sorted ahead");
            }
            Err(_) => tracing::warn!(chunk = chunk.number, "not sorted ahead: no answer"),
        }
        self.state = State::GivenUp;
        None
    }

    async fn try_sort(&self, chunk: &Chunk) -> StepResult<()> {
        let mut connection = self.db.connection().await?;
        let tx = connection.begin(NAME, Limits::bulk(PATIENCE)).await?;
        sort::sort_clean(&tx, self.job.id, chunk, self.run).await?;
        // Whoever drops the workspace changes the job first. They see this table, or it is never committed.
        jobs::fence(&tx, self.job.id, self.job.attempt, Status::Processing).await?;
        Ok(tx.commit().await?)
    }

    /// Drops what was sorted, after COMMIT or ROLLBACK. What can't be dropped now goes with the next run, or with the
    /// workspace.
    pub(crate) async fn finish(&self) {
        if self.state != State::Idle {
            self.drop_tables(Some(self.run)).await;
        }
    }

    async fn drop_tables(&self, run: Option<SortRun>) {
        match timeout(PATIENCE, self.try_drop(run)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, cause = %error.cause, "sorted codes are left behind"),
            Err(_) => tracing::warn!("sorted codes are left behind: no answer"),
        }
    }

    async fn try_drop(&self, run: Option<SortRun>) -> DbResult<()> {
        let mut connection = self.db.connection().await?;
        let tx = connection.begin(NAME, Limits::short()).await?;
        sort::drop_sorted(&tx, self.job.id, run).await?;
        tx.commit().await
    }
}
