//! What an export of staging is compared with: the marks of a job as they stood when the export began.

use shared::db::jobs::{self, Job};
use shared::db::staging::export::Bucket;
use shared::db::{Session, chunks};
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};

/// Which rows of staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Those that were not inserted.
    Duplicates,
    /// All.
    All,
}

/// One bucket, and how many rows it must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    number: usize,
    chunks: Vec<i32>,
    staged: i64,
    duplicates: i64,
}

impl Part {
    /// How many rows it must give.
    pub(crate) fn expected(&self, rows: Rows) -> i64 {
        match rows {
            Rows::Duplicates => self.duplicates,
            Rows::All => self.staged,
        }
    }
}

/// The marks of a job.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub job: Job,
    /// Its buckets, in order.
    pub parts: Vec<Part>,
}

/// What changes when a job goes on while it is exported.
#[derive(PartialEq)]
struct Version {
    attempt: i32,
    restage_count: i32,
    recheck_count: i32,
    staging_created: bool,
    /// An insert that found nothing late has changed no mark.
    late: i64,
}

impl Version {
    fn of(job: &Job) -> Self {
        Self {
            attempt: job.attempt,
            restage_count: job.restage_count,
            recheck_count: job.recheck_count,
            staging_created: job.staging_created,
            late: job.inserted.map_or(0, |inserted| inserted.late),
        }
    }
}

impl Marks {
    /// Reads what is to be exported. `StagingLost` when there is no staging, or no marks in it.
    pub(crate) async fn read(on: &dyn Session, job: JobId) -> StepResult<Self> {
        let job = jobs::get(on, job).await?;
        let states = chunks::list(on, &job).await?;
        if !job.staging_created || states.is_empty() || states.iter().any(|state| !state.is_marked()) {
            return Err(lose(&job, "it was cleared, or is not marked"));
        }
        let mut parts: Vec<Part> = Vec::new();
        for state in states {
            let (number, chunk) = (state.chunk.bucket, state.chunk.number);
            let index = parts.iter().position(|part| part.number == number).unwrap_or_else(|| {
                parts.push(Part { number, chunks: Vec::new(), staged: 0, duplicates: 0 });
                parts.len() - 1
            });
            let part = &mut parts[index];
            part.chunks.push(chunk);
            part.staged += state.staged;
            part.duplicates += state.internal + state.existing - state.both + state.late;
        }
        Ok(Self { job, parts })
    }

    /// How many rows the export has.
    pub(crate) fn total(&self, rows: Rows) -> i64 {
        self.parts.iter().map(|part| part.expected(rows)).sum()
    }

    /// The bucket of a part.
    pub(crate) fn bucket<'a>(&self, part: &'a Part) -> Bucket<'a> {
        let Job { id: job, merchant, .. } = self.job;
        Bucket { job, merchant, number: part.number, chunks: &part.chunks }
    }

    /// Checks that a bucket gave what the marking has committed. `StagingLost` if not: the server has restarted.
    pub(crate) async fn check_count(
        &self,
        on: &dyn Session,
        part: &Part,
        rows: Rows,
        read: i64,
    ) -> StepResult<()> {
        let expected = part.expected(rows);
        if read == expected {
            return Ok(());
        }
        self.check_unchanged(on).await?;
        Err(lose(&self.job, &format!("bucket {} gave {read} rows, {expected} were committed", part.number)))
    }

    /// Checks that the job was not marked or inserted since. `Transient` if it was: the export begins anew.
    pub(crate) async fn check_unchanged(&self, on: &dyn Session) -> StepResult<()> {
        let now = jobs::get(on, self.job.id).await?;
        if Version::of(&self.job) == Version::of(&now) {
            return Ok(());
        }
        let message = format!("job {} went on while it was exported; exporting again", self.job.id);
        Err(StepError::new(StepErrorKind::Transient, message))
    }

    /// The error for a table that is gone.
    pub(crate) fn lose_table(&self) -> StepError {
        lose(&self.job, "a table is gone")
    }

    /// Whether lost staging can be made again from the files and from what was inserted. A late duplicate can't be told from one that
    /// was marked, because neither is among the codes of the import.
    pub(crate) fn can_be_made_again(&self) -> bool {
        self.job.status == Status::Completed && self.job.inserted.is_none_or(|inserted| inserted.late == 0)
    }

    /// The error for staging that can't be made again.
    pub(crate) fn refuse(&self, why: &str) -> StepError {
        lose(
            &self.job,
            &format!("a restart of the database has emptied it, and it can't be made again: {why}"),
        )
    }
}

/// Says what is missing and what to do.
fn lose(job: &Job, found: &str) -> StepError {
    let remedy = match job.status {
        Status::AwaitingApproval => {
            "Approve the import: it loads its files again, and exports what it does not insert"
        }
        Status::Failed => "Retry the import: it loads its files again",
        _ => "The codes are not concerned; the files still hold every row",
    };
    let message = format!(
        "staging of job {} is not there ({found}): nothing can be exported from it. {remedy}",
        job.id
    );
    StepError::new(StepErrorKind::StagingLost, message)
}
