//! Plans the chunks of an import once its files are loaded: `loading -> checking`.

use serde_json::json;
use shared::db::chunks;
use shared::db::files::{self, FileCounts, ImportFile};
use shared::db::jobs::{self, Job};
use shared::db::progress::Watch;
use shared::db::staging::mark as staging;
use shared::db::staging::tables::drop_sides;
use shared::db::{Connection, Database, DbResult, Limits, SPLIT, Transaction, within_budget};
use shared::domain::buckets::{self, Chunk, MAX_CHUNKS};
use shared::domain::fault::summarize;
use shared::domain::ids::JobId;
use shared::domain::phase::Phase;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use std::collections::BTreeMap;
use std::time::Duration;

/// The reason in `validation_errors`.
const NOTHING_STAGED: &str = "nothing_staged";

/// Checks that every file is loaded, cuts staging into chunks and returns their numbers. Called again in the same
/// attempt, it returns the same ones, unless production has changed: then it plans anew.
pub(crate) async fn plan(
    db: &Database,
    job_id: JobId,
    attempt: i32,
    time_left: Duration,
) -> StepResult<Vec<i32>> {
    let mut connection = db.connection().await?;
    let job = jobs::get(&connection, job_id).await?;
    if is_planned(&job, attempt)? {
        return list_numbers(&connection, &job).await;
    }
    let _watch = Watch::of_step(db, &job, None);
    let loaded = files::list(&connection, job_id).await?;
    check_loaded(&loaded)?;
    check_staged(&connection, &job, &loaded).await?;
    let tx = connection.begin("mark.cut", Limits::bulk(time_left)).await?;
    let planned = cut(&tx, &job, &loaded).await;
    // The transaction only reads, so nothing is lost if this fails.
    tx.rollback().await.ok();
    let planned = match planned {
        Err(error) if error.is_missing_table() => {
            drop(connection);
            return Err(jobs::lose_staging(db, job_id, attempt, "a table is gone").await);
        }
        planned => within_budget("cutting staging into chunks", SPLIT, planned)?,
    };
    match save(&mut connection, &job, &planned, time_left).await? {
        Saved::Now => Ok(planned.iter().map(|(chunk, _)| chunk.number).collect()),
        Saved::Before => list_numbers(&connection, &job).await,
    }
}

/// Whether the chunks are planned already; an error if this attempt may not plan them.
fn is_planned(job: &Job, attempt: i32) -> StepResult<bool> {
    if job.attempt != attempt || job.cancel_requested {
        return Err(job.refusal(attempt, Status::Loading));
    }
    match (job.status, job.phase) {
        (Status::Loading, _) => Ok(false),
        (Status::Checking, Phase::Recheck) => check_ways_back(job.recheck_count).map(|()| false),
        (Status::Checking, _) => Ok(true),
        _ => Err(job.refusal(attempt, Status::Loading)),
    }
}

/// A merchant whose codes keep changing would have the import marked for ever.
fn check_ways_back(taken: i32) -> StepResult<()> {
    if taken <= jobs::MAX_WAYS_BACK {
        return Ok(());
    }
    let message =
        format!("production moved {taken} times while this import was checked; retry when it is quiet");
    Err(StepError::new(StepErrorKind::CountMismatch, message))
}

fn check_loaded(files: &[ImportFile]) -> StepResult<()> {
    let faults: Vec<&str> = files.iter().filter_map(|file| file.error_message.as_deref()).collect();
    if !faults.is_empty() {
        let message = format!(
            "{}. The others stay loaded; replace these or leave them out",
            summarize(&faults, files.iter().filter(|file| !file.is_left_out()).count())
        );
        return Err(StepError::new(StepErrorKind::FileRejected, message));
    }
    match files.iter().find(|file| !file.is_loaded()) {
        Some(file) => {
            let message = format!("{} is not loaded yet", file.object.key);
            Err(StepError::new(StepErrorKind::Transient, message))
        }
        None => Ok(()),
    }
}

/// An import of which nothing was staged has failed. It is the fault of no single file.
async fn check_staged(connection: &Connection, job: &Job, loaded: &[ImportFile]) -> StepResult<()> {
    let sum =
        |count: fn(&FileCounts) -> i64| -> i64 { loaded.iter().flat_map(|f| &f.counts).map(count).sum() };
    if sum(|counts| counts.staged) > 0 {
        return Ok(());
    }
    let detail = describe_nothing(sum(|counts| counts.rejected), &sum_reasons(loaded));
    let fault = json!([{ "reason": NOTHING_STAGED, "detail": detail }]);
    // `false`: it is noted already, or the attempt is over. Then the state machine learns it from the next step.
    jobs::append_error(connection, job.id, job.attempt, &fault).await?;
    Err(StepError::new(StepErrorKind::FileRejected, format!("{NOTHING_STAGED}: {detail}")))
}

/// The rejects of all files by their reason.
fn sum_reasons(files: &[ImportFile]) -> Vec<(String, i64)> {
    let mut reasons: BTreeMap<String, i64> = BTreeMap::new();
    for (reason, count) in files.iter().flat_map(|file| &file.findings.rejected_by_reason) {
        *reasons.entry(reason.clone()).or_default() += count;
    }
    reasons.into_iter().collect()
}

/// `2 of 2 records were rejected (invalid_points 2)`
fn describe_nothing(records: i64, reasons: &[(String, i64)]) -> String {
    if records == 0 {
        return "no records".into();
    }
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    format!("{records} of {records} records were rejected ({})", reasons.join(", "))
}

/// One chunk per bucket, with its staged rows; a bucket that came out too big is cut by a sample of its own codes.
async fn cut(tx: &Transaction<'_>, job: &Job, loaded: &[ImportFile]) -> DbResult<Vec<(Chunk, i64)>> {
    let ranges = job.bucket_ranges();
    let rows = sum_buckets(loaded, ranges.len());
    let mut spare = MAX_CHUNKS.saturating_sub(ranges.len());
    let mut chunks = Vec::new();
    for (bucket, (range, rows)) in ranges.into_iter().zip(rows).enumerate() {
        let parts = buckets::parts(rows, spare);
        let (cut, counts) = if parts > 1 {
            let (points, counts) = staging::cut(tx, job.id, bucket, &range, parts).await?;
            (buckets::ranges(&range, &points), counts)
        } else {
            (vec![range], vec![rows])
        };
        spare = spare.saturating_sub(cut.len() - 1);
        let whole = cut.len() == 1;
        for (range, staged) in cut.into_iter().zip(counts) {
            let number = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
            chunks.push((Chunk { number, bucket, range, whole }, staged));
        }
    }
    Ok(chunks)
}

/// The staged rows of each bucket, over all files.
fn sum_buckets(loaded: &[ImportFile], buckets: usize) -> Vec<i64> {
    let mut rows = vec![0; buckets];
    for file in loaded {
        for (sum, staged) in rows.iter_mut().zip(file.bucket_rows.iter().flatten()) {
            *sum += staged;
        }
    }
    rows
}

/// Who wrote the plan.
enum Saved {
    /// This call.
    Now,
    /// An earlier call of the same step that was still alive.
    Before,
}

async fn save(
    connection: &mut Connection,
    job: &Job,
    planned: &[(Chunk, i64)],
    time_left: Duration,
) -> StepResult<Saved> {
    let limits = Limits { statement: time_left, ..Limits::short() };
    let tx = connection.begin("mark.plan", limits).await?;
    if jobs::begin_checking(&tx, job.id, job.attempt).await? {
        drop_sides(&tx, job.id).await?;
        chunks::replace(&tx, job.id, planned).await?;
        tx.commit().await?;
        return Ok(Saved::Now);
    }
    let decided = find_decision(&tx, job).await;
    tx.rollback().await?;
    decided
}

/// What kept this call from beginning to check.
async fn find_decision(tx: &Transaction<'_>, job: &Job) -> StepResult<Saved> {
    let found = jobs::get(tx, job.id).await?;
    let planned = found.status == Status::Checking && found.phase != Phase::Recheck;
    if planned && found.attempt == job.attempt && !found.cancel_requested {
        return Ok(Saved::Before);
    }
    Err(found.refusal(job.attempt, Status::Loading))
}

async fn list_numbers(connection: &Connection, job: &Job) -> StepResult<Vec<i32>> {
    let planned = chunks::list(connection, job).await?;
    Ok(planned.iter().map(|state| state.chunk.number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::db::files::FileStatus;
    use shared::domain::object::FrozenObject;

    fn file(key: &str, status: FileStatus, error_message: Option<&str>) -> ImportFile {
        ImportFile {
            file_no: 1,
            object: FrozenObject { key: key.into(), version_id: None, etag: "etag".into(), bytes: 1 },
            status,
            layout: None,
            replaces: None,
            counts: None,
            findings: Default::default(),
            bucket_rows: (status == FileStatus::Loaded).then(|| vec![2, 3]),
            error_reason: None,
            error_message: error_message.map(str::to_owned),
        }
    }

    #[test]
    fn a_rejected_file_is_named_before_one_that_is_not_loaded_yet() {
        let files = [
            file("a.csv", FileStatus::Loaded, None),
            file("b.csv", FileStatus::Pending, None),
            file("c.csv", FileStatus::Failed, Some("c.csv: no column `code`")),
        ];
        let error = check_loaded(&files).unwrap_err();
        assert_eq!(error.kind, StepErrorKind::FileRejected);
        assert!(error.message.starts_with("1 of 3 files rejected: c.csv: no column `code`. "), "{error}");
        assert_eq!(check_loaded(&files[..2]).unwrap_err().kind, StepErrorKind::Transient);
        assert!(check_loaded(&files[..1]).is_ok());
    }

    #[test]
    fn nothing_staged_is_explained() {
        assert_eq!(describe_nothing(0, &[]), "no records");
        let reasons = [("empty_code".to_owned(), 1), ("invalid_points".to_owned(), 2)];
        let expected = "3 of 3 records were rejected (empty_code 1, invalid_points 2)";
        assert_eq!(describe_nothing(3, &reasons), expected);
    }

    #[test]
    fn a_bucket_has_the_rows_of_all_files() {
        let files = [file("a.csv", FileStatus::Loaded, None), file("b.csv", FileStatus::Loaded, None)];
        assert_eq!(sum_buckets(&files, 2), [4, 6]);
    }

    #[test]
    fn the_fourth_way_back_is_an_error() {
        assert!(check_ways_back(jobs::MAX_WAYS_BACK).is_ok());
        let error = check_ways_back(jobs::MAX_WAYS_BACK + 1).unwrap_err();
        assert_eq!(error.kind, StepErrorKind::CountMismatch);
        assert!(error.message.starts_with("production moved 4 times"), "{error}");
    }
}
