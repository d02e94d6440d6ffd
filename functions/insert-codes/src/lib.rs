//! The one atomic transaction: all clean codes of an approved import enter production, or none.

use serde::{Deserialize, Serialize};
use shared::db::insert;
use shared::domain::ids::JobId;
use shared::domain::step::StepResult;
use shared::edge::{App, Budget};

/// One attempt of a job.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    pub attempt: i32,
}

/// Names as operators' scripts know them.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    pub success: bool,
    pub job_id: JobId,
    pub codes_inserted: i64,
    pub late_duplicates: i64,
    pub message: String,
}

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let inserted = insert::insert_codes(&app.db, input.job_id, input.attempt, budget.left()).await?;
    Ok(Output {
        success: true,
        job_id: input.job_id,
        codes_inserted: inserted.codes,
        late_duplicates: inserted.late,
        message: format!("Successfully inserted {} clean codes to production", inserted.codes),
    })
}
