//! Counts an import's codes in production and compares the count, their checksum and the import's sums.

use crate::Verification;
use serde_json::json;
use shared::db::jobs::{self, Identities, Inserted, Job};
use shared::db::{ASK_AGAIN, Database, Limits, Transaction, codes, tasks, within_budget};
use shared::domain::ids::TaskId;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use std::time::Duration;

/// Counts, compares, and keeps what was found. With a task, the same transaction ends it with that result.
pub(crate) async fn verify(
    db: &Database,
    job: &Job,
    task: Option<TaskId>,
    time_left: Duration,
) -> StepResult<Verification> {
    let expected = find_expected(job)?;
    let mut connection = db.connection().await?;
    let tx = connection.begin("verify", Limits::bulk(time_left)).await?;
    let outcome = count_and_record(&tx, job, expected, task).await;
    tx.settle(outcome).await
}

/// What the insert left on the job.
fn find_expected(job: &Job) -> StepResult<Inserted> {
    match (job.inserted, job.status) {
        (Some(inserted), _) => Ok(inserted),
        // Nothing was clean, so nothing was approved and inserted.
        (None, Status::Completed) => Ok(Inserted { codes: 0, late: 0, checksum: Some(0) }),
        (None, status) => {
            let status = status.as_str();
            let message = format!("job {} has inserted nothing yet: it is {status}", job.id);
            Err(StepError::invalid(message))
        }
    }
}

async fn count_and_record(
    tx: &Transaction<'_>,
    job: &Job,
    expected: Inserted,
    task: Option<TaskId>,
) -> StepResult<Verification> {
    let sums = codes::sum_up(tx, job.id, job.merchant).await;
    let (actual_count, checksum) = within_budget("the verification", ASK_AGAIN, sums)?;
    // Of an import that came with an adoption, nothing else is known.
    let identities = if job.is_adopted() { None } else { Some(jobs::find_identities(tx, job.id).await?) };
    let problems = list_problems(expected, actual_count, checksum, identities.as_ref());
    let verification = Verification {
        success: true,
        job_id: job.id,
        expected_count: expected.codes,
        actual_count,
        verified: problems.is_empty(),
        problems,
        compared: identities.is_none().then_some("count"),
    };
    if !jobs::record_verified(tx, job.id, &json!(verification)).await? {
        let message = format!("job {} was rolled back while it was verified", job.id);
        return Err(StepError::new(StepErrorKind::Superseded, message));
    }
    if let Some(task) = task {
        tasks::finish(tx, task, &json!(verification)).await?;
    }
    Ok(verification)
}

/// What is off, in words.
fn list_problems(
    expected: Inserted,
    actual: i64,
    checksum: i64,
    identities: Option<&Identities>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if actual != expected.codes {
        problems.push(format!("{actual} codes in production, {} were inserted", expected.codes));
    }
    if expected.checksum.is_some_and(|it| it != checksum) {
        problems
            .push("the checksum of the codes in production differs from that of the staged ones".to_owned());
    }
    let Some(identities) = identities else { return problems };
    for (holds, problem) in [
        (identities.records_add_up, "records = staged + rejected + skipped does not hold"),
        (identities.staged_add_up, "staged = inserted + internal + existing - both + late does not hold"),
        (identities.rejects_kept, "not every reject is kept"),
        (identities.files_add_up, "the counts of the files do not add up to those of the import"),
        (identities.chunks_add_up, "the counts of the chunks do not add up to those of the import"),
    ] {
        // `None`: a count is missing.
        if holds != Some(true) {
            problems.push(problem.to_owned());
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Identities = Identities {
        records_add_up: Some(true),
        staged_add_up: Some(true),
        rejects_kept: Some(true),
        files_add_up: Some(true),
        chunks_add_up: Some(true),
    };
    const EXPECTED: Inserted = Inserted { codes: 3, late: 1, checksum: Some(7) };

    #[test]
    fn an_import_whose_codes_and_sums_agree_has_no_problem() {
        assert!(list_problems(EXPECTED, 3, 7, Some(&HOLD)).is_empty());
    }

    #[test]
    fn a_missing_code_shows_in_the_count_and_the_checksum() {
        let problems = list_problems(EXPECTED, 2, 6, Some(&HOLD));
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(problems[0], "2 codes in production, 3 were inserted");
    }

    #[test]
    fn without_checksum_and_sums_the_count_is_compared() {
        let expected = Inserted { checksum: None, ..EXPECTED };
        assert!(list_problems(expected, 3, 6, None).is_empty());
        assert_eq!(list_problems(expected, 2, 6, None), ["2 codes in production, 3 were inserted"]);
    }

    #[test]
    fn a_sum_that_lacks_a_count_does_not_hold() {
        let problems = list_problems(EXPECTED, 3, 7, Some(&Identities { chunks_add_up: None, ..HOLD }));
        assert_eq!(problems, ["the counts of the chunks do not add up to those of the import"]);
    }
}
