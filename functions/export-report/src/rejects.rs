//! Exports rejects: per input file the records as they are, to be corrected and uploaded again, and beside it the reasons.

use crate::File;
use shared::csv::text::{defuse, write_record};
use shared::db::files::{self, ImportFile};
use shared::db::progress::Watch;
use shared::db::rejects::{self, StoredReject};
use shared::db::tasks::{self, Task};
use shared::db::{ASK_AGAIN, Connection, Limits, within_budget};
use shared::domain::step::{StepError, StepResult};
use shared::lambda::{App, Budget};
use shared::s3::gzip_upload::GzipUpload;
use std::collections::BTreeMap;

const REASONS: [&str; 5] = ["record_number", "line_number", "reason", "detail", "complete"];

/// Writes the files. Returns how many records were rejected.
pub(crate) async fn export(
    app: &App,
    task: &Task,
    watch: &Watch,
    budget: Budget,
) -> StepResult<(i64, Vec<File>)> {
    let mut connection = app.db.connection().await?;
    let sources: BTreeMap<String, ImportFile> = files::list(&connection, task.job)
        .await?
        .into_iter()
        .map(|file| (file.object.key.clone(), file))
        .collect();
    let mut writer = Writer { app, task, sources, open: None, files: Vec::new(), rows: 0 };
    let fenced = match copy(&mut connection, &mut writer, watch, budget).await {
        Ok(()) => tasks::fence(&connection, task.id).await,
        Err(error) => Err(error),
    };
    if let Err(error) = fenced {
        writer.abort().await;
        return Err(error);
    }
    writer.finish().await
}

async fn copy(
    connection: &mut Connection,
    writer: &mut Writer<'_>,
    watch: &Watch,
    budget: Budget,
) -> StepResult<()> {
    let tx = connection.begin("export", Limits::bulk(budget.left())).await?;
    let mut rejects = rejects::read(&tx, writer.task.job).await?;
    while let Some(reject) = within_budget("the export", ASK_AGAIN, rejects.next().await)? {
        watch.check()?;
        writer.add(&reject).await?;
        watch.set_rows(writer.rows);
    }
    drop(rejects);
    Ok(tx.commit().await?)
}

/// The two files of the input file that is being read.
struct Open {
    file: String,
    stem: String,
    records: GzipUpload,
    reasons: GzipUpload,
    whole: i64,
    all: i64,
}

struct Writer<'a> {
    app: &'a App,
    task: &'a Task,
    sources: BTreeMap<String, ImportFile>,
    open: Option<Open>,
    files: Vec<File>,
    rows: i64,
}

impl Writer<'_> {
    async fn add(&mut self, reject: &StoredReject) -> StepResult<()> {
        if self.open.as_ref().is_none_or(|open| open.file != reject.file) {
            self.close().await?;
            self.open = Some(self.begin(&reject.file).await?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let complete = reject.raw.len() < rejects::RAW_BYTES;
        if complete {
            open.records.write(&reject.raw).await?;
            open.records.write(b"\n").await?;
            open.whole += 1;
        }
        let reasons = [
            reject.record_number.to_string(),
            reject.line_number.to_string(),
            reject.reason.clone(),
            defuse(reject.detail.as_deref().unwrap_or_default()).into_owned(),
            complete.to_string(),
        ];
        open.reasons.write(write_record(&reasons, b',').as_bytes()).await?;
        open.all += 1;
        self.rows += 1;
        Ok(())
    }

    /// Begins the two files of an input file. The header has the file's own names and delimiter; the encoding is UTF-8, as in
    /// every file that was loaded.
    async fn begin(&self, file: &str) -> StepResult<Open> {
        let source = self.sources.get(file);
        let Some((source, layout)) = source.and_then(|s| s.layout.as_ref().map(|layout| (s, layout))) else {
            return Err(StepError::internal(format!("rejects of {file}, which was never read")));
        };
        let stem = format!("{:04}-{}", source.file_no, stem(file));
        let at = format!("{}rejects/{stem}", self.task.reports());
        let mut records = GzipUpload::new(self.app.objects(), format!("{at}.csv.gz"));
        records.write(write_record(&layout.header, layout.delimiter).as_bytes()).await?;
        let mut reasons = GzipUpload::new(self.app.objects(), format!("{at}.reasons.csv.gz"));
        reasons.write(write_record(&REASONS, b',').as_bytes()).await?;
        Ok(Open { file: file.to_owned(), stem, records, reasons, whole: 0, all: 0 })
    }

    async fn close(&mut self) -> StepResult<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        for (upload, ending, rows) in
            [(open.records, "csv.gz", open.whole), (open.reasons, "reasons.csv.gz", open.all)]
        {
            let stored = upload.finish().await?;
            let name = format!("{}.{ending}", open.stem);
            self.files.push(File { key: stored.key, name, rows, bytes: stored.bytes });
        }
        Ok(())
    }

    async fn finish(mut self) -> StepResult<(i64, Vec<File>)> {
        self.close().await?;
        // If nothing was rejected, one file without rows says so.
        if self.files.is_empty() {
            let key = format!("{}rejects/reasons.csv.gz", self.task.reports());
            let mut reasons = GzipUpload::new(self.app.objects(), key);
            reasons.write(write_record(&REASONS, b',').as_bytes()).await?;
            let stored = reasons.finish().await?;
            let name = "reasons.csv.gz".to_owned();
            self.files.push(File { key: stored.key, name, rows: 0, bytes: stored.bytes });
        }
        Ok((self.rows, self.files))
    }

    async fn abort(self) {
        if let Some(open) = self.open {
            open.records.abort().await;
            open.reasons.abort().await;
        }
    }
}

/// The last segment of a key without what says that it is a CSV; at most 150 bytes of it.
fn stem(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or(key);
    let name = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let name = name.strip_suffix(".csv").unwrap_or(name);
    let end = (0..=name.len().min(150)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_reject_file_is_named_after_its_input_file() {
        assert_eq!(super::stem("stage/m/batch/codes 1.csv.gz"), "codes 1");
        assert_eq!(super::stem("stage/m/a.csv"), "a");
        assert_eq!(super::stem("stage/m/plain"), "plain");
        assert_eq!(super::stem(&format!("stage/m/{}.csv", "é".repeat(100))).len(), 150);
    }
}
