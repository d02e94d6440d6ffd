//! Streams one file into its load. Three tasks let S3, parsing and PostgreSQL work at the same time: one fetches
//! (`Objects::stream`), one parses and fills a buffer per bucket, and this one copies full buffers.

use crate::load::FileLoad;
use bytes::Bytes;
use futures_util::stream::poll_fn;
use shared::csv::decompress::decompress;
use shared::csv::records::{ReadError, broke_off};
use shared::csv::rows::Rows;
use shared::db::DbError;
use shared::db::files::{FileCounts, ImportFile};
use shared::db::jobs::Job;
use shared::db::progress::Watch;
use shared::db::rejects::{RAW_BYTES, RejectBuffer, RejectedRecord};
use shared::db::staging::copy::{CopyBuffer, row_number};
use shared::domain::buckets::Splitter;
use shared::domain::fault::Fault;
use shared::domain::ids::JobId;
use shared::domain::pace::Pace;
use shared::domain::row::Reject;
use shared::domain::step::StepError;
use shared::domain::warning::Findings;
use shared::lambda::{App, Budget};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::io::StreamReader;

/// A buffer is copied when it has grown to this; 48 buckets of it are what a loader holds.
const BUFFER_BYTES: usize = 1024 * 1024;
/// How long the transaction may be idle: far less than `idle_in_transaction_session_timeout`.
const QUIET: Duration = Duration::from_secs(15);

/// Why a file was not loaded.
pub(crate) enum Stop {
    /// The file is at fault: its fault is noted, and nothing of it is staged.
    File(Fault),
    /// The step failed.
    Step(StepError),
}

impl From<StepError> for Stop {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        Self::Step(error.into())
    }
}

/// What is known at the end of a file.
#[derive(Default)]
pub(crate) struct Ending {
    /// Records without content.
    pub(crate) skipped: i64,
    pub(crate) findings: Findings,
    /// Of the rejects that are kept.
    pub(crate) reject_bytes: i64,
}

/// What the parser sends to the copying task.
enum Message {
    Rows { bucket: usize, data: Bytes, rows: u64 },
    Rejects { data: Bytes, rows: u64 },
    End(Ending),
}

/// Streams the object into the open load and finishes it.
pub(crate) async fn run(
    app: &App,
    job: &Job,
    file: &ImportFile,
    mut load: FileLoad<'_>,
    watch: &Watch,
    budget: Budget,
) -> Result<FileCounts, Stop> {
    match copy_all(app, job, file, &mut load, watch, budget).await {
        Ok(ending) => Ok(load.finish(&ending).await?),
        Err(Stop::File(fault)) => {
            // Noting the fault waits for the lock on the file's row, which this gives back.
            load.give_up().await?;
            Err(Stop::File(fault))
        }
        Err(Stop::Step(error)) => {
            // If this fails, the connection is closed, and the server rolls back.
            load.give_up().await.ok();
            Err(Stop::Step(error))
        }
    }
}

/// Copies all records of the object.
async fn copy_all(
    app: &App,
    job: &Job,
    file: &ImportFile,
    load: &mut FileLoad<'_>,
    watch: &Watch,
    budget: Budget,
) -> Result<Ending, Stop> {
    let layout = file
        .layout
        .clone()
        .ok_or_else(|| StepError::internal(format!("the header of {} was not read", file.object.key)))?;
    let received = Arc::new(AtomicI64::new(0));
    let mut chunks = app.objects().stream(&file.object, Arc::clone(&received));
    let bytes = StreamReader::new(poll_fn(move |cx| chunks.poll_recv(cx)));
    let text = decompress(bytes, layout.compression, app.config.max_decompressed_bytes);
    let rows = Rows::new(text, &layout, job.merchant, job.options.max_rejects);
    let (sender, mut receiver) = mpsc::channel(2);
    let parser = Parser::new(job, file, load.room(), sender);
    // Aborted when this function returns early.
    let mut parsing = JoinSet::new();
    parsing.spawn(parser.run(rows));

    let mut pace = Pace::start("loading", file.object.bytes, "bytes", budget.left(), "split the file");
    let mut rows_done = 0i64;
    let mut ending = None;
    loop {
        let message = match tokio::time::timeout(QUIET, receiver.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(_) => {
                // A slow download leaves the transaction idle; send a keep-alive so PostgreSQL doesn't end it.
                watch.check()?;
                load.keep_alive().await?;
                continue;
            }
        };
        watch.check()?;
        pace.check(received.load(Ordering::Relaxed))?;
        match message {
            Message::Rows { bucket, data, rows } => {
                load.copy_rows(bucket, data, rows).await?;
                rows_done += i64::try_from(rows).unwrap_or(0);
            }
            Message::Rejects { data, rows } => load.copy_rejects(data, rows).await?,
            Message::End(end) => ending = Some(end),
        }
        watch.set_rows(rows_done);
        watch.set_bytes(received.load(Ordering::Relaxed));
    }
    if let Some(parsed) = parsing.join_next().await {
        parsed.map_err(|error| StepError::internal(format!("the parser panicked: {error}")))??;
    }
    Ok(ending.ok_or_else(|| StepError::internal("the parser ended without reaching the end of the file"))?)
}

/// The parsing task.
struct Parser {
    job: JobId,
    file_no: i32,
    key: String,
    splitter: Splitter,
    buffers: Vec<CopyBuffer>,
    rejects: RejectBuffer,
    /// Of the rejects that are kept.
    reject_bytes: i64,
    /// How many bytes of further rejects may be kept.
    room: i64,
    sender: mpsc::Sender<Message>,
}

/// The copying task has stopped, and knows why.
struct Gone;

impl Parser {
    fn new(job: &Job, file: &ImportFile, room: i64, sender: mpsc::Sender<Message>) -> Self {
        let splitter = Splitter::new(job.split_points.as_deref().unwrap_or_default());
        // A small file needs no big buffers.
        let text = usize::try_from(file.object.bytes).unwrap_or(usize::MAX).saturating_mul(8);
        let capacity = (text / splitter.buckets()).clamp(4096, BUFFER_BYTES + 4096);
        Self {
            job: job.id,
            file_no: file.file_no,
            key: file.object.key.clone(),
            buffers: (0..splitter.buckets()).map(|_| CopyBuffer::with_capacity(capacity)).collect(),
            splitter,
            rejects: RejectBuffer::with_capacity(4096),
            reject_bytes: 0,
            room,
            sender,
        }
    }

    async fn run(mut self, mut rows: Rows) -> Result<(), Stop> {
        match self.parse(&mut rows).await {
            Ok(()) => {
                let (skipped, findings, reject_bytes) = (rows.skipped(), rows.findings(), self.reject_bytes);
                let _ = self.flush_all(Ending { skipped, findings, reject_bytes }).await;
                Ok(())
            }
            Err(Some(stop)) => Err(stop),
            Err(None) => Ok(()),
        }
    }

    /// Parses to the end. `Err(None)`: the copying task has stopped.
    async fn parse(&mut self, rows: &mut Rows) -> Result<(), Option<Stop>> {
        let read = |error: ReadError| {
            Some(match error {
                ReadError::File(fault) => Stop::File(fault),
                ReadError::Source(error) => Stop::Step(broke_off(error)),
            })
        };
        while rows.next().await.map_err(read)? {
            let number = rows.number();
            let full = match rows.row() {
                Ok(row) => {
                    let bucket = self.splitter.bucket_of(row.code.as_bytes());
                    let buffer = &mut self.buffers[bucket];
                    buffer.push(row_number(self.file_no, number), &row);
                    (buffer.len() >= BUFFER_BYTES).then_some(Some(bucket))
                }
                Err(reject) => {
                    self.keep(rows, number, &reject);
                    rows.count_reject(&reject).map_err(|fault| Some(Stop::File(fault)))?;
                    (self.rejects.len() >= BUFFER_BYTES).then_some(None)
                }
            };
            match full {
                Some(Some(bucket)) => self.flush(bucket).await.map_err(|Gone| None)?,
                Some(None) => self.flush_rejects().await.map_err(|Gone| None)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Keeps a reject, unless it or one before it had no room: it is counted all the same.
    fn keep(&mut self, rows: &Rows, number: i64, reject: &Reject) {
        let raw = rows.raw();
        let record = RejectedRecord {
            record_number: number,
            line_number: i64::try_from(rows.line()).unwrap_or(i64::MAX),
            reason: reject.reason.as_str(),
            detail: &reject.detail,
            raw: &raw[..raw.len().min(RAW_BYTES)],
        };
        let bytes = record.row_bytes(&self.key);
        if bytes > self.room {
            self.room = 0;
            return;
        }
        self.room -= bytes;
        self.reject_bytes += bytes;
        self.rejects.push(self.job, self.file_no, &self.key, &record);
    }

    async fn flush(&mut self, bucket: usize) -> Result<(), Gone> {
        let buffer = &mut self.buffers[bucket];
        let rows = buffer.rows();
        let data = buffer.take();
        self.sender.send(Message::Rows { bucket, data, rows }).await.map_err(|_| Gone)
    }

    async fn flush_rejects(&mut self) -> Result<(), Gone> {
        let rows = self.rejects.rows();
        let data = self.rejects.take();
        self.sender.send(Message::Rejects { data, rows }).await.map_err(|_| Gone)
    }

    async fn flush_all(&mut self, ending: Ending) -> Result<(), Gone> {
        for bucket in 0..self.buffers.len() {
            if !self.buffers[bucket].is_empty() {
                self.flush(bucket).await?;
            }
        }
        if !self.rejects.is_empty() {
            self.flush_rejects().await?;
        }
        self.sender.send(Message::End(ending)).await.map_err(|_| Gone)
    }
}
