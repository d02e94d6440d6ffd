//! Makes staging again that a restart of the server has emptied after the insert: the frozen files are loaded once more, and marked
//! by what the import has inserted. It counts only if rows, duplicates and checksums are those that were committed.

use crate::marks::{Marks, Rows};
use futures_util::stream::poll_fn;
use shared::csv::decompress::decompress;
use shared::csv::records::{ReadError, broke_off};
use shared::csv::rows::Rows as Records;
use shared::db::chunks;
use shared::db::files::{self, ImportFile};
use shared::db::jobs::{self, Job};
use shared::db::progress::Watch;
use shared::db::staging::again::mark_inserted;
use shared::db::staging::copy::{CopyBuffer, copy_rows, row_number};
use shared::db::staging::export::count;
use shared::db::staging::mark::Marked;
use shared::db::staging::tables;
use shared::db::{Limits, SPLIT, Transaction, within_budget};
use shared::domain::buckets::Splitter;
use shared::domain::pace::Pace;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::{App, Budget};
use std::sync::Arc;
use tokio_util::io::StreamReader;

/// A buffer is copied when it has grown to this; there are 48 at most.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Loads and marks in one transaction: staging is as it was, or as it is now.
pub(crate) async fn restage(app: &App, marks: &Marks, watch: &Watch, budget: Budget) -> StepResult<()> {
    let mut connection = app.db.connection().await?;
    let mut tx = connection.begin("export.restage", Limits::bulk(budget.left())).await?;
    let locked = lock(&mut tx, marks).await;
    let outcome = match locked {
        Ok(true) => {
            let rows = marks.job.staged.unwrap_or_default();
            let pace = Pace::start("loading again", rows, "rows", budget.left(), SPLIT);
            Restage { app, tx: &tx, marks, watch, pace }.run().await
        }
        decided => decided.map(drop),
    };
    tx.settle(outcome).await
}

/// Takes the staging. `false`: another export has made it again.
async fn lock(tx: &mut Transaction<'_>, marks: &Marks) -> StepResult<bool> {
    let job = marks.job.id;
    if !jobs::lock_staging(tx, job).await? {
        let message = format!("another export loads the files of job {job} again");
        return Err(StepError::new(StepErrorKind::Transient, message));
    }
    for part in &marks.parts {
        let point = tx.savepoint("counted").await?;
        let counted = count(&point, marks.bucket(part)).await;
        point.rollback().await?;
        let found = match counted {
            Err(error) if error.is_missing_table() => return Ok(true),
            counted => counted?,
        };
        if found != (part.expected(Rows::All), part.expected(Rows::Duplicates)) {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Restage<'a> {
    app: &'a App,
    tx: &'a Transaction<'a>,
    marks: &'a Marks,
    watch: &'a Watch,
    pace: Pace,
}

impl Restage<'_> {
    async fn run(&mut self) -> StepResult<()> {
        let job = &self.marks.job;
        tracing::info!(job_id = %job.id, "staging is empty: the files are loaded again for an export");
        tables::create(self.tx, job.id, job.buckets()).await?;
        let mut loaded = 0;
        for file in files::list(self.tx, job.id).await?.iter().filter(|file| file.is_loaded()) {
            let rows = self.load(job, file, loaded).await?;
            if file.bucket_rows.as_ref() != Some(&rows) {
                return Err(self.marks.refuse(&format!("{} has other rows now", file.object.key)));
            }
            loaded += rows.iter().sum::<i64>();
        }
        self.mark(job).await?;
        // Neither a rollback nor a clearing of staging came between.
        jobs::fence(self.tx, job.id, job.attempt, Status::Completed).await?;
        self.marks.check_unchanged(self.tx).await
    }

    /// Copies the rows of a file, and returns how many of them each bucket has. `before`: the rows of the files before it.
    async fn load(&mut self, job: &Job, file: &ImportFile, before: i64) -> StepResult<Vec<i64>> {
        let (objects, object) = (self.app.objects(), &file.object);
        if let Err(fault) = objects.head(&object.key, object.version_id.as_deref()).await? {
            return Err(self.marks.refuse(&format!("{}: {fault}", object.key)));
        }
        let Some(layout) = &file.layout else {
            return Err(StepError::internal(format!("the header of {} was not read", object.key)));
        };
        let mut pieces = objects.stream(object, Arc::default());
        let bytes = StreamReader::new(poll_fn(move |cx| pieces.poll_recv(cx)));
        let text = decompress(bytes, layout.compression, self.app.config.max_decompressed_bytes);
        let mut rows = Records::new(text, layout, job.merchant, job.options.max_rejects);
        let splitter = Splitter::new(job.split_points.as_deref().unwrap_or_default());
        let mut buffers: Vec<CopyBuffer> =
            (0..splitter.buckets()).map(|_| CopyBuffer::with_capacity(4096)).collect();
        let mut counts = vec![0; splitter.buckets()];
        while rows.next().await.map_err(|error| self.read_error(file, error))? {
            let number = rows.number();
            // Its rejects are kept since the import.
            let Ok(row) = rows.row() else { continue };
            let bucket = splitter.bucket_of(row.code.as_bytes());
            buffers[bucket].push(row_number(file.file_no, number), &row);
            if buffers[bucket].len() >= BUFFER_BYTES {
                counts[bucket] += self.copy(job, bucket, &mut buffers[bucket]).await?;
                self.check_pace(before + counts.iter().sum::<i64>())?;
            }
        }
        for (bucket, buffer) in buffers.iter_mut().enumerate().filter(|(_, buffer)| !buffer.is_empty()) {
            counts[bucket] += self.copy(job, bucket, buffer).await?;
        }
        self.check_pace(before + counts.iter().sum::<i64>())?;
        Ok(counts)
    }

    fn read_error(&self, file: &ImportFile, error: ReadError) -> StepError {
        match error {
            ReadError::File(fault) => self.marks.refuse(&format!("{}: {fault}", file.object.key)),
            ReadError::Source(error) => broke_off(error),
        }
    }

    async fn copy(&self, job: &Job, bucket: usize, buffer: &mut CopyBuffer) -> StepResult<i64> {
        let copied = copy_rows(self.tx, job.id, bucket, buffer.take()).await;
        let copied = within_budget("loading again", SPLIT, copied)?;
        Ok(i64::try_from(copied).unwrap_or(i64::MAX))
    }

    fn check_pace(&mut self, rows: i64) -> StepResult<()> {
        self.watch.check()?;
        self.watch.set_rows(rows);
        self.pace.check(rows)
    }

    async fn mark(&self, job: &Job) -> StepResult<()> {
        for state in chunks::list(self.tx, job).await? {
            self.watch.check()?;
            let marked = mark_inserted(self.tx, job.id, job.merchant, &state.chunk).await;
            let marked = within_budget("marking again", SPLIT, marked)?;
            // How many codes production had then is no matter.
            if marked != (Marked { production: None, ..state.marked() }) {
                return Err(self.marks.refuse("codes of this import are no longer in production"));
            }
        }
        Ok(())
    }
}
