//! Counting what is in production against what the job says it inserted.

use super::error::DbError;
use super::jobs::{self, Inserted};
use super::pool::{Database, client};
use super::rows::Param;
use super::transaction::{Limits, begin, commit};
use super::{sql, tasks};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::job::Status;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio_postgres::types::{Json, Type};

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    pub success: bool,
    pub job_id: JobId,
    pub expected_count: i64,
    pub actual_count: i64,
    pub verified: bool,
    /// What is off, in words; empty when verified.
    pub problems: Vec<String>,
}

/// Recounts and compares: codes, checksum, and the identities of the accounting. With a task, ends it with what was
/// found, in the same transaction.
pub async fn verify(
    db: &Database,
    job_id: JobId,
    task: Option<TaskId>,
    time_left: Duration,
) -> StepResult<Verification> {
    const NAME: &str = "verify";
    let mut connection = db.connection().await?;
    let job = jobs::get(client(&connection), job_id).await?;
    let expected = match (job.inserted, job.status) {
        (Some(inserted), _) => inserted,
        // Nothing was clean, so nothing was approved and inserted.
        (None, Status::Completed) => Inserted { codes: 0, late: 0, checksum: 0 },
        (None, status) => {
            let message = format!("job {job_id} has inserted nothing yet: it is {}", status.as_str());
            return Err(StepError::invalid(message));
        }
    };
    let tx = begin(&mut connection, NAME, Limits::bulk(time_left)).await?;
    let row =
        sql::CODES_VERIFY.one(tx.client(), &[(&job_id.0, Type::UUID), (&job.merchant.0, Type::UUID)]).await?;
    let (actual, checksum): (i64, i64) = (row.get("codes"), row.get("checksum"));
    let mut problems = Vec::new();
    if actual != expected.codes {
        problems.push(format!("{actual} codes in production, {} were inserted", expected.codes));
    }
    if checksum != expected.checksum {
        problems.push("the checksum of the codes in production is not that of the staged ones".to_owned());
    }
    let identities = sql::JOBS_IDENTITIES.one(tx.client(), &[(&job_id.0, Type::UUID)]).await?;
    for (holds, problem) in [
        ("records_add_up", "records = staged + rejected + skipped does not hold"),
        ("staged_add_up", "staged = inserted + internal + existing - both + late does not hold"),
        ("rejects_kept", "not every reject is kept"),
        ("files_add_up", "the counts of the files do not add up to those of the import"),
        ("chunks_add_up", "the counts of the chunks do not add up to those of the import"),
    ] {
        // NULL: a count is missing.
        if identities.get::<_, Option<bool>>(holds) != Some(true) {
            problems.push(problem.to_owned());
        }
    }
    let verification = Verification {
        success: true,
        job_id,
        expected_count: expected.codes,
        actual_count: actual,
        verified: problems.is_empty(),
        problems,
    };
    let written = sql::JOBS_VERIFIED
        .run(tx.client(), &[(&job_id.0, Type::UUID), (&Json(&verification), Type::JSONB)])
        .await?;
    if written == 0 {
        let message = format!("job {job_id} was rolled back while it was verified");
        return Err(StepError::new(StepErrorKind::Superseded, message));
    }
    if let Some(task) = task {
        tasks::finish(tx.client(), task, &json!(verification)).await?;
    }
    commit(tx, NAME).await?;
    Ok(verification)
}

/// `VACUUM (ANALYZE) codes`, so that the next marking reads the index alone. Outside of any transaction; when it
/// doesn't finish in time the server's autovacuum does it later.
pub async fn vacuum(db: &Database, time_left: Duration) -> Result<(), DbError> {
    let connection = db.connection().await?;
    tokio::time::timeout(time_left, sql::CODES_VACUUM.run(client(&connection), &[])).await??;
    Ok(())
}

/// Notes how many codes the merchant has now. Cheap after the VACUUM: the index alone is read.
pub async fn count_merchant(db: &Database, job_id: JobId, time_left: Duration) -> Result<(), DbError> {
    let connection = db.connection().await?;
    let params: &[Param<'_>] = &[(&job_id.0, Type::UUID)];
    tokio::time::timeout(time_left, sql::JOBS_MERCHANT_TOTAL.run(client(&connection), params)).await??;
    Ok(())
}
