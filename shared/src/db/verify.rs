//! Counting what is in production against what the job says it inserted.

use super::error::DbError;
use super::pool::{Database, client};
use super::rows::Param;
use super::transaction::{Limits, begin, commit};
use super::{jobs, sql};
use crate::domain::ids::JobId;
use crate::domain::step::{StepError, StepResult};
use serde::Serialize;
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

/// Recounts and compares: codes, checksum, and the identities of the accounting.
pub async fn verify(db: &Database, job_id: JobId, time_left: Duration) -> StepResult<Verification> {
    const NAME: &str = "verify";
    let mut connection = db.connection().await?;
    let job = jobs::get(client(&connection), job_id).await?;
    let Some(expected) = job.inserted else {
        return Err(StepError::invalid(format!(
            "job {job_id} has inserted nothing yet: it is {}",
            job.status.as_str()
        )));
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
    if !identities.get::<_, bool>("records_add_up") {
        problems.push("records = staged + rejected + skipped does not hold".to_owned());
    }
    if !identities.get::<_, bool>("staged_add_up") {
        problems.push("staged = inserted + internal + existing - both + late does not hold".to_owned());
    }
    if !identities.get::<_, bool>("rejects_kept") {
        problems.push("not every reject is kept".to_owned());
    }
    let verification = Verification {
        success: true,
        job_id,
        expected_count: expected.codes,
        actual_count: actual,
        verified: problems.is_empty(),
        problems,
    };
    sql::JOBS_VERIFIED
        .run(tx.client(), &[(&job_id.0, Type::UUID), (&Json(&verification), Type::JSONB)])
        .await?;
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
