//! Exports duplicates, or every row with its status: from staging, bucket by bucket, each in a short transaction. Staging that a
//! restart of the server has emptied is made again first.

use crate::File;
use crate::marks::{Marks, Part, Rows};
use crate::restage::restage;
use shared::csv::text::write_record;
use shared::db::progress::Watch;
use shared::db::staging::export::{copy_duplicates, copy_report};
use shared::db::tasks::{self, Task};
use shared::db::{ASK_AGAIN, Connection, Limits, within_budget};
use shared::domain::field::Field;
use shared::domain::pace::Pace;
use shared::domain::step::{StepErrorKind, StepResult};
use shared::lambda::{App, Budget};
use shared::s3::gzip_upload::GzipUpload;

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
    let mut connection = app.db.connection().await?;
    let marks = Marks::read(&connection, task.job).await?;
    let name = match rows {
        Rows::Duplicates => "duplicates.csv.gz",
        Rows::All => "report.csv.gz",
    };
    let key = format!("{}{name}", task.reports());
    let (written, upload) = match upload(app, &mut connection, &marks, rows, &key, watch, budget).await {
        Err(error) if error.kind == StepErrorKind::StagingLost && marks.can_be_made_again() => {
            restage(app, &mut connection, &marks, watch, budget).await?;
            upload(app, &mut connection, &marks, rows, &key, watch, budget).await?
        }
        uploaded => uploaded?,
    };
    let closed = upload.close().await?;
    if let Err(error) = fence(&connection, &marks, task).await {
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
    connection: &mut Connection,
    marks: &Marks,
    rows: Rows,
    key: &str,
    watch: &Watch,
    budget: Budget,
) -> StepResult<(i64, GzipUpload)> {
    let mut upload = GzipUpload::new(app.objects(), key.to_owned());
    match write(connection, marks, rows, &mut upload, watch, budget).await {
        Ok(written) => Ok((written, upload)),
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

async fn write(
    connection: &mut Connection,
    marks: &Marks,
    rows: Rows,
    upload: &mut GzipUpload,
    watch: &Watch,
    budget: Budget,
) -> StepResult<i64> {
    let mut pace = Pace::start("exporting", marks.total(rows), "rows", budget.left(), ASK_AGAIN);
    upload.write(write_header(rows).as_bytes()).await?;
    let mut written = 0;
    for part in marks.parts.iter().filter(|part| part.expected(rows) > 0) {
        watch.check()?;
        let read = copy_part(connection, marks, part, rows, upload, budget).await?;
        marks.check_count(connection, part, rows, read).await?;
        written += read;
        watch.set_rows(written);
        pace.check(written)?;
    }
    Ok(written)
}

/// Copies the rows of one bucket, and returns how many there were.
async fn copy_part(
    connection: &mut Connection,
    marks: &Marks,
    part: &Part,
    rows: Rows,
    upload: &mut GzipUpload,
    budget: Budget,
) -> StepResult<i64> {
    let tx = connection.begin("export", Limits::bulk(budget.left())).await?;
    let bucket = marks.bucket(part);
    let lines = match rows {
        Rows::Duplicates => copy_duplicates(&tx, bucket).await,
        Rows::All => copy_report(&tx, bucket).await,
    };
    let mut lines = lines.map_err(|error| match error.is_missing_table() {
        true => marks.lose_table(),
        false => error.into(),
    })?;
    let mut read = 0;
    while let Some(line) = within_budget("the export", ASK_AGAIN, lines.next().await)? {
        upload.write(&line).await?;
        read += 1;
    }
    drop(lines);
    tx.commit().await?;
    Ok(read)
}

/// Checks once more before the file is visible that these are the marks, and that the task was not given up.
async fn fence(connection: &Connection, marks: &Marks, task: &Task) -> StepResult<()> {
    marks.check_unchanged(connection).await?;
    tasks::fence(connection, task.id).await
}
