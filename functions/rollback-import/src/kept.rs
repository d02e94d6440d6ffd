//! The list of the codes that a rollback kept: `reports/{merchant}/{job}/claimed.csv.gz`.

use serde::Serialize;
use shared::csv::text::write_record;
use shared::db::codes::references::Production;
use shared::db::tasks::Task;
use shared::db::{ASK_AGAIN, Connection, Limits, codes, within_budget};
use shared::domain::field::Field;
use shared::domain::step::StepResult;
use shared::lambda::{App, Budget};
use shared::s3::gzip_upload::GzipUpload;

/// A list that was written.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct KeptFile {
    /// Its key in the bucket.
    pub key: String,
    /// The name of the file when it is fetched.
    pub name: &'static str,
    /// Codes in it.
    pub rows: i64,
    /// Its size, compressed.
    pub bytes: i64,
}

const NAME: &str = "claimed.csv.gz";

/// Writes the codes that are still in production, who has claimed them, and why they stay: `claimed`, the names of the foreign keys
/// that reference them, or `in_use`.
pub(crate) async fn list(app: &App, task: &Task, budget: Budget) -> StepResult<KeptFile> {
    let mut connection = app.db.connection().await?;
    let mut upload = GzipUpload::new(app.objects(), format!("{}{NAME}", task.reports()));
    let rows = match copy(&mut connection, task, &mut upload, budget).await {
        Ok(rows) => rows,
        Err(error) => {
            upload.abort().await;
            return Err(error);
        }
    };
    let stored = upload.finish().await?;
    Ok(KeptFile { key: stored.key, name: NAME, rows, bytes: stored.bytes })
}

async fn copy(
    connection: &mut Connection,
    task: &Task,
    upload: &mut GzipUpload,
    budget: Budget,
) -> StepResult<i64> {
    let header: Vec<&str> = Field::NAMES.into_iter().chain(["claimed_customer_id", "kept_because"]).collect();
    upload.write(write_record(&header, b',').as_bytes()).await?;
    let tx = connection.begin("rollback.kept", Limits::bulk(budget.left())).await?;
    let production = Production::find(&tx).await?;
    let mut lines = codes::copy_of_job(&tx, &production, task.job, task.merchant).await?;
    let mut rows = 0;
    while let Some(line) = within_budget("listing the codes that stay", ASK_AGAIN, lines.next().await)? {
        upload.write(&line).await?;
        rows += 1;
    }
    drop(lines);
    tx.commit().await?;
    Ok(rows)
}
