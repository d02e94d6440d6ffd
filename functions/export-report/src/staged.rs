//! Duplicates, or every row with its status: from staging, bucket by bucket.

use crate::File;
use shared::db::Connection;
use shared::db::pool::client;
use shared::db::report::{self, Marks, Rows};
use shared::db::staging::export::COLUMNS;
use shared::db::tasks::{self, Task};
use shared::db::watch::Watch;
use shared::domain::csv_text;
use shared::domain::pace::too_slow;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::edge::gzip_upload::GzipUpload;
use shared::edge::{App, Budget};
use std::time::Instant;

fn header(rows: Rows) -> String {
    let more: &[&str] = match rows {
        Rows::Duplicates => &["internal_dup", "existing_dup", "duplicate_type"],
        Rows::All => &["status"],
    };
    let names: Vec<&str> = COLUMNS.iter().chain(more).copied().collect();
    csv_text::record(&names, b',')
}

/// Writes the file. Returns how many rows it has.
pub async fn export(
    app: &App,
    task: &Task,
    rows: Rows,
    watch: &Watch,
    budget: Budget,
) -> StepResult<(i64, Vec<File>)> {
    let mut connection = app.db.connection().await?;
    let marks = report::marks(client(&connection), task.job).await?;
    let name = match rows {
        Rows::Duplicates => "duplicates.csv.gz",
        Rows::All => "report.csv.gz",
    };
    let mut upload = GzipUpload::new(app.objects(), format!("{}{name}", task.reports()));
    let written = match write(&mut connection, &marks, rows, &mut upload, watch, budget).await {
        Ok(written) => written,
        Err(error) => {
            upload.abort().await;
            return Err(error);
        }
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

async fn write(
    connection: &mut Connection,
    marks: &Marks,
    rows: Rows,
    upload: &mut GzipUpload,
    watch: &Watch,
    budget: Budget,
) -> StepResult<i64> {
    let (started, time_left, total) = (Instant::now(), budget.left(), marks.total(rows));
    upload.write(header(rows).as_bytes()).await?;
    let mut written = 0;
    for part in marks.parts.iter().filter(|part| part.expected(rows) > 0) {
        watch.check()?;
        if let Some(rate) = too_slow(started.elapsed(), time_left, written, total) {
            let message =
                format!("exporting {total} rows at {rate:.0} rows/s takes longer than the function may run");
            return Err(StepError::new(StepErrorKind::TimeBudgetExceeded, message));
        }
        let mut lines = report::read_part(connection, marks, part, rows, budget.left()).await?;
        while let Some(line) = lines.next().await? {
            upload.write(&line).await?;
        }
        let read = lines.end().await?;
        marks.check_count(client(connection), part, rows, read).await?;
        written += read;
        watch.set_rows(written);
    }
    Ok(written)
}

/// Looks once more before the file can be seen: are these the marks, and does anybody wait for it?
async fn fence(connection: &Connection, marks: &Marks, task: &Task) -> StepResult<()> {
    marks.check_unchanged(client(connection)).await?;
    tasks::fence(client(connection), task.id).await
}
