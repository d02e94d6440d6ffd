//! Exports rejects as one file to correct and to import anew: the columns of all files, then where each record was and why
//! it was rejected. A record that can't be split into those columns stands whole in the last one.

use crate::File;
use crate::columns::{Header, Places, Union};
use crate::split::split;
use shared::csv::text::{defuse, write_record};
use shared::db::files;
use shared::db::jobs::{self, Job};
use shared::db::progress::Watch;
use shared::db::rejects::{self, NotKept, RAW_BYTES, StoredReject};
use shared::db::tasks::{self, Task};
use shared::db::{ASK_AGAIN, Connection, Limits, Session, within_budget};
use shared::domain::field::REJECT_COLUMNS;
use shared::domain::layout::Layout;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::{App, Budget};
use shared::s3::gzip_upload::GzipUpload;
use std::collections::BTreeMap;

const NAME: &str = "rejects.csv.gz";
/// Files whose headers are read at a time.
const PAGE: i64 = 100;
/// Records of one file that are split at a time, in bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// Writes the file. Returns how many records were rejected.
pub(crate) async fn export(
    app: &App,
    task: &Task,
    watch: &Watch,
    budget: Budget,
) -> StepResult<(i64, Vec<File>)> {
    let mut connection = app.db.connection().await?;
    let job = jobs::get(&connection, task.job).await?;
    let (header, sources) = read_headers(&connection, &job).await?;
    let upload = GzipUpload::new(app.objects(), format!("{}{NAME}", task.reports()));
    let mut writer = Writer { header, sources, upload, batch: Vec::new(), batch_bytes: 0, rows: 0 };
    if let Err(error) = writer.write(&mut connection, &job, watch, budget).await {
        writer.upload.abort().await;
        return Err(error);
    }
    let rows = writer.rows;
    let closed = writer.upload.close().await?;
    if let Err(error) = fence(&connection, &job, task).await {
        closed.abort().await;
        return Err(error);
    }
    let stored = closed.publish().await?;
    Ok((rows, vec![File { key: stored.key, name: NAME.to_owned(), rows, bytes: stored.bytes }]))
}

/// Checks before the file is visible that no attempt has begun meanwhile, and that the task was not given up.
async fn fence(on: &dyn Session, job: &Job, task: &Task) -> StepResult<()> {
    if jobs::get(on, job.id).await?.attempt != job.attempt {
        let message = format!("job {} went on while it was exported; exporting again", job.id);
        return Err(StepError::new(StepErrorKind::Transient, message));
    }
    tasks::fence(on, task.id).await
}

/// A file, as far as its records are split by it.
struct Source {
    /// Without its header, which can be long.
    layout: Layout,
    places: Places,
}

/// The columns of all files, and the files by their numbers.
async fn read_headers(on: &dyn Session, job: &Job) -> StepResult<(Header, BTreeMap<i32, Source>)> {
    let (mut union, mut sources, mut after) = (Union::default(), BTreeMap::new(), 0);
    loop {
        let (page, more) = files::list_page(on, job.id, after, PAGE).await?;
        for file in page {
            after = file.file_no;
            if let Some(layout) = file.layout.filter(|_| file.status != files::FileStatus::LeftOut) {
                let places = union.add(&layout);
                let layout = Layout { header: Vec::new(), unknown: Vec::new(), ..layout };
                sources.insert(file.file_no, Source { layout, places });
            }
        }
        if !more {
            return Ok((union.settle(&job.mapping), sources));
        }
    }
}

struct Writer {
    header: Header,
    sources: BTreeMap<i32, Source>,
    upload: GzipUpload,
    /// Rejects of one file.
    batch: Vec<StoredReject>,
    batch_bytes: usize,
    rows: i64,
}

impl Writer {
    async fn write(
        &mut self,
        connection: &mut Connection,
        job: &Job,
        watch: &Watch,
        budget: Budget,
    ) -> StepResult<()> {
        let names: Vec<&str> = self.header.names().chain(REJECT_COLUMNS).collect();
        self.upload.write(write_record(&names, b',').as_bytes()).await?;
        let tx = connection.begin("export", Limits::bulk(budget.left())).await?;
        let mut rejects = rejects::read(&tx, job.id).await?;
        while let Some(reject) = within_budget("the export", ASK_AGAIN, rejects.next().await)? {
            watch.check()?;
            let other_file = self.batch.first().is_some_and(|first| first.file_no != reject.file_no);
            if other_file || self.batch_bytes >= BATCH_BYTES {
                self.flush().await?;
                watch.set_rows(self.rows);
            }
            self.batch_bytes += reject.raw.len();
            self.batch.push(reject);
        }
        drop(rejects);
        self.flush().await?;
        let not_kept = rejects::list_not_kept(&tx, job.id).await?;
        tx.commit().await?;
        self.name_not_kept(&not_kept).await
    }

    /// One line for each file that had more rejects than are kept. An import rejects it, too.
    async fn name_not_kept(&mut self, files: &[NotKept]) -> StepResult<()> {
        for NotKept { file_no, file, rejects } in files {
            let Some(source) = self.sources.get(file_no) else { continue };
            let detail = format!("{rejects} more records of the file were rejected; too many to be kept");
            let mut row = self.header.arrange(&source.places, &[]);
            row.extend([file.as_str(), "", "", "not_kept", &detail, ""]);
            self.upload.write(write_record(&row, b',').as_bytes()).await?;
        }
        Ok(())
    }

    /// Writes the records of the batch, split by the layout of their file.
    async fn flush(&mut self) -> StepResult<()> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let Some(first) = batch.first() else { return Ok(()) };
        let source = self.sources.get(&first.file_no).ok_or_else(|| {
            StepError::internal(format!("rejects of {}, whose header was never read", first.file))
        })?;
        let whole: Vec<&[u8]> =
            batch.iter().filter(|r| is_whole(r)).map(|reject| reject.raw.as_slice()).collect();
        let mut split = split(&whole, &source.layout).await.into_iter();
        for reject in &batch {
            let fields = if is_whole(reject) { split.next().flatten() } else { None };
            let raw = if fields.is_some() { String::new() } else { show(&reject.raw) };
            let (record, line) = (reject.record_number.to_string(), reject.line_number.to_string());
            let detail = defuse(reject.detail.as_deref().unwrap_or_default());
            let mut row = self.header.arrange(&source.places, fields.as_deref().unwrap_or_default());
            row.extend([&reject.file, &record, &line, &reject.reason, detail.as_ref(), &raw]);
            self.upload.write(write_record(&row, b',').as_bytes()).await?;
            self.rows += 1;
        }
        Ok(())
    }
}

/// Whether all of the record is kept.
fn is_whole(reject: &StoredReject) -> bool {
    reject.raw.len() < RAW_BYTES
}

/// A record as text: each byte that is not UTF-8 is spelled out.
fn show(raw: &[u8]) -> String {
    let mut shown = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_that_are_no_text_are_spelled_out() {
        assert_eq!(super::show(b"M\xfcller,\xc3\xbc"), "M\\xfcller,ü");
    }
}
