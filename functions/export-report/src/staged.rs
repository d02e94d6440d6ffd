//! Exports duplicates, or every row with its status: from staging, bucket by bucket. Staging that a restart of the server has
//! emptied is made again first.

use crate::File;
use crate::lane::{BATCHES, Batch, Lane};
use crate::marks::{Marks, Part, Rows};
use crate::restage::restage;
use shared::csv::text::write_record;
use shared::db::progress::Watch;
use shared::db::tasks::{self, Task};
use shared::db::{ASK_AGAIN, Database};
use shared::domain::field::Field;
use shared::domain::pace::Pace;
use shared::domain::step::{StepErrorKind, StepResult};
use shared::lambda::{App, Budget};
use shared::s3::gzip_upload::GzipUpload;
use tokio::sync::mpsc::channel;

fn write_header(rows: Rows) -> String {
    let more: &[&str] = match rows {
        Rows::Duplicates => &["internal_dup", "existing_dup", "duplicate_type"],
        Rows::All => &["status"],
    };
    let names: Vec<&str> = Field::NAMES.iter().chain(more).copied().collect();
    write_record(&names, b',')
}

/// Writes the file. Returns how many rows it has.
pub(crate) async fn export(
    app: &App,
    task: &Task,
    rows: Rows,
    watch: &Watch,
    budget: Budget,
) -> StepResult<(i64, Vec<File>)> {
    let marks = Marks::read(&app.db.connection().await?, task.job).await?;
    let name = match rows {
        Rows::Duplicates => "duplicates.csv.gz",
        Rows::All => "report.csv.gz",
    };
    let key = format!("{}{name}", task.reports());
    let (written, upload) = match upload(app, &marks, rows, &key, watch, budget).await {
        Err(error) if error.kind == StepErrorKind::StagingLost && marks.can_be_made_again() => {
            restage(app, &marks, watch, budget).await?;
            upload(app, &marks, rows, &key, watch, budget).await?
        }
        uploaded => uploaded?,
    };
    let closed = upload.close().await?;
    if let Err(error) = fence(&app.db, &marks, task).await {
        closed.abort().await;
        return Err(error);
    }
    let stored = closed.publish().await?;
    let file = File { key: stored.key, name: name.to_owned(), rows: written, bytes: stored.bytes };
    Ok((written, vec![file]))
}

/// Uploads the file, all but its end. Returns how many rows it has.
async fn upload(
    app: &App,
    marks: &Marks,
    rows: Rows,
    key: &str,
    watch: &Watch,
    budget: Budget,
) -> StepResult<(i64, GzipUpload)> {
    let mut upload = GzipUpload::new(app.objects(), key.to_owned());
    match write(app, marks, rows, &mut upload, watch, budget).await {
        Ok(written) => Ok((written, upload)),
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

/// Writes all buckets in order, while two of them are read at a time.
async fn write(
    app: &App,
    marks: &Marks,
    rows: Rows,
    upload: &mut GzipUpload,
    watch: &Watch,
    budget: Budget,
) -> StepResult<i64> {
    upload.write(write_header(rows).as_bytes()).await?;
    let parts: Vec<&Part> = marks.parts.iter().filter(|part| part.expected(rows) > 0).collect();
    let every_second = |first| parts.iter().copied().skip(first).step_by(2).collect();
    let lane = |first| Lane { app, marks, rows, parts: every_second(first), budget };
    let ((even, mut from_even), (odd, mut from_odd)) = (channel(BATCHES), channel(BATCHES));
    let written = async {
        let mut pace = Pace::start("exporting", marks.total(rows), "rows", budget.left(), ASK_AGAIN);
        let mut written = 0;
        for index in 0..parts.len() {
            let lane = if index % 2 == 0 { &mut from_even } else { &mut from_odd };
            // If it ends too early, the lane says why.
            while let Some(Batch { text, rows, is_last }) = lane.recv().await {
                upload.write(&text).await?;
                written += rows;
                watch.check()?;
                watch.set_rows(written);
                if is_last {
                    break;
                }
            }
            pace.check(written)?;
        }
        Ok(written)
    };
    let ((), (), written) = tokio::try_join!(lane(0).read(even), lane(1).read(odd), written)?;
    Ok(written)
}

/// Checks once more before the file is visible that these are the marks, and that the task was not given up.
async fn fence(db: &Database, marks: &Marks, task: &Task) -> StepResult<()> {
    let connection = db.connection().await?;
    marks.check_unchanged(&connection).await?;
    tasks::fence(&connection, task.id).await
}
