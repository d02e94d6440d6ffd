//! Verifies an import: count, checksum and accounting against what is in production.

use serde::Deserialize;
use shared::db::verify::{self, Verification};
use shared::domain::ids::JobId;
use shared::domain::step::StepResult;
use shared::edge::serve::causes;
use shared::edge::{App, Budget};
use tracing::{error, warn};

/// A job whose codes are in.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Input {
    pub job_id: JobId,
}

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Verification> {
    let verification = verify::verify(&app.db, input.job_id, budget.left()).await?;
    if !verification.verified {
        error!(job_id = %input.job_id, problems = ?verification.problems, "verification failed");
    }
    // Housekeeping: the next marking reads the index alone. Nothing depends on it.
    if let Err(error) = verify::vacuum(&app.db, budget.left()).await {
        warn!(message = %error, causes = causes(&error), "VACUUM is left to autovacuum");
    }
    if let Err(error) = verify::count_merchant(&app.db, input.job_id, budget.left()).await {
        warn!(message = %error, causes = causes(&error), "the merchant's codes were not counted");
    }
    Ok(verification)
}
