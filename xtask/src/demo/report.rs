//! Compares expected and actual counts, and formats the summary that an operator reads before an approval.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::database::{After, Before};
use super::job::{FilePage, Job};
use super::live::megabytes;
use super::watch::Phases;
use crate::generate::{Expected, ExpectedFile, grouped};

/// One count that must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its name in `demo.json`.
    pub key: String,
    pub label: String,
    pub expected: u64,
    pub actual: Option<u64>,
}

impl Line {
    fn new(key: &str, label: &str, expected: u64, actual: Option<u64>) -> Self {
        Self { key: key.to_owned(), label: label.to_owned(), expected, actual }
    }

    fn is_equal(&self) -> bool {
        self.actual == Some(self.expected)
    }
}

/// All counts that are compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison(pub Vec<Line>);

impl Comparison {
    /// Compares the counts that are known when the job waits for its approval.
    pub(super) fn before_approval(expected: &Expected, job: &Job) -> Self {
        let counts = &job.counts;
        let line = Line::new;
        Self(vec![
            line("records", "records", expected.records, counts.records),
            line("staged", "staged", expected.staged, counts.staged),
            line("rejected", "rejected", expected.rejected, counts.rejected),
            line("skipped", "skipped (empty lines)", expected.skipped, counts.skipped),
            line(
                "internal_duplicates",
                "internal duplicates",
                expected.internal_duplicates,
                counts.internal_duplicates,
            ),
            line(
                "database_duplicates",
                "existing duplicates",
                expected.database_duplicates,
                counts.database_duplicates,
            ),
            line("both_duplicates", "of both kinds", expected.both_duplicates, counts.both_duplicates),
            line("clean", "clean", expected.clean, counts.clean),
        ])
    }

    /// Compares all counts after the job is completed.
    pub(super) fn after_completion(
        expected: &Expected,
        job: &Job,
        files: &FilePage,
        before: Before,
        after: &After,
    ) -> Self {
        let mut all = Self::before_approval(expected, job);
        let line = Line::new;
        let verified = if expected.clean == 0 && job.verification.is_null() {
            Some(0) // nothing inserted, nothing to verify
        } else {
            job.verification.get("actual_count").and_then(Value::as_u64).filter(|_| job.is_verified())
        };
        all.0.extend([
            line("inserted", "inserted", expected.clean, job.counts.inserted),
            line("late_duplicates", "late duplicates", 0, Some(job.counts.late_duplicates.unwrap_or(0))),
            line("verified", "verified", expected.clean, verified),
            line("codes_of_job", "in the database, of this job", expected.clean, Some(after.codes_of_job)),
            line(
                "codes_of_merchant",
                "in the database, of the merchant",
                before.merchant_total + expected.clean,
                Some(after.merchant_total),
            ),
        ]);
        // The import counts this after the verification if it has time.
        if let Some(total) = job.counts.merchant_total {
            all.0.push(line(
                "merchant_total",
                "the import's count of them",
                before.merchant_total + expected.clean,
                Some(total),
            ));
        }
        let equal = expected.files.iter().filter(|file| is_as_expected(file, files)).count();
        all.0.push(line("files", "files with equal counts", expected.files.len() as u64, Some(equal as u64)));
        let reasons = expected.rejects_by_reason.keys().chain(after.rejects_by_reason.keys());
        for reason in reasons.collect::<std::collections::BTreeSet<_>>() {
            let wanted = expected.rejects_by_reason.get(reason).copied().unwrap_or(0);
            let found = after.rejects_by_reason.get(reason).copied().unwrap_or(0);
            let (key, label) =
                (format!("rejected_{reason}"), format!("rejected: {}", reason.replace('_', " ")));
            all.0.push(line(&key, &label, wanted, Some(found)));
        }
        all
    }

    pub(super) fn is_equal(&self) -> bool {
        self.0.iter().all(Line::is_equal)
    }

    pub(super) fn table(&self) -> String {
        let mut out = format!("{:<34} {:>14} {:>14}\n", "", "expected", "imported");
        for line in &self.0 {
            let actual = line.actual.map_or_else(|| "-".to_owned(), grouped);
            let mark = if line.is_equal() { "" } else { "  <-- differs" };
            let _ = writeln!(out, "{:<34} {:>14} {:>14}{mark}", line.label, grouped(line.expected), actual);
        }
        out
    }

    fn json(&self, number: impl Fn(&Line) -> Value) -> Value {
        Value::Object(self.0.iter().map(|line| (line.key.clone(), number(line))).collect())
    }
}

/// Whether the API reports the expected counts of a file. It names the file by its key.
fn is_as_expected(expected: &ExpectedFile, files: &FilePage) -> bool {
    let found = files.files.iter().find(|file| file.key.rsplit('/').next() == Some(&expected.name));
    found.is_some_and(|file| {
        [file.records, file.staged, file.rejected, file.skipped]
            == [expected.records, expected.staged, expected.rejected, expected.skipped].map(Some)
    })
}

/// The summary that an operator reads before an approval.
pub(super) fn summary(job: &Job, merchant: &str) -> String {
    let counts = &job.counts;
    let show = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), grouped);
    let mut out = format!(
        "Import {} for {merchant}: {} files, {}\n\n",
        job.job_id,
        job.files.total,
        megabytes(job.bytes.total)
    );
    for (label, number, note) in [
        ("records", counts.records, ""),
        ("  skipped", counts.skipped, "empty lines"),
        ("  rejected", counts.rejected, "kept with file, line and reason"),
        ("  staged", counts.staged, ""),
        ("    existing duplicates", counts.database_duplicates, "in production already"),
        ("    internal duplicates", counts.internal_duplicates, "repeated in these files"),
        ("      of both kinds", counts.both_duplicates, ""),
        ("    clean", counts.clean, "will be inserted when approved"),
    ] {
        let _ = writeln!(out, "{:<28} {:>12}  {note}", label, show(number));
    }
    if let Some(seconds) = job.insert_estimate_seconds {
        let _ = writeln!(out, "\nInserting them takes about {seconds} s.");
    }
    if job.blocked {
        out.push_str("\nBlocked: more duplicates than the import's options allow.\n");
    }
    out
}

/// Describes a failed job with its error message and its validation errors.
pub(super) fn describe_failure(job: &Job) -> String {
    let mut out = format!("import {} is {}", job.job_id, job.status.replace('_', " "));
    if let Some(message) = &job.error_message {
        let _ = write!(out, ": {message}");
    }
    match &job.validation_errors {
        Value::Array(errors) => {
            for error in errors {
                let text = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
                let _ = write!(out, "\n  - {text}");
            }
        }
        Value::Null => {}
        other => {
            let _ = write!(out, "\n  - {other}");
        }
    }
    out
}

/// The content of `demo.json`.
pub(super) fn to_json(comparison: &Comparison, job: &Job, first: bool, phases: &Phases) -> Value {
    let seconds: Map<String, Value> = phases
        .iter()
        .map(|(name, seconds)| (name.to_owned(), json!((seconds * 10.0).round() / 10.0)))
        .collect();
    json!({
        "job_id": job.job_id,
        "status": job.status,
        "first_run": first,
        "equal": comparison.is_equal(),
        "expected": comparison.json(|line| json!(line.expected)),
        "actual": comparison.json(|line| json!(line.actual)),
        "seconds": seconds,
        "job": job,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::generate::Plan;

    fn expected() -> Expected {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("onceload-report-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        let plan = Plan {
            rows: 1_000,
            files: 3,
            internal: 20,
            existing: 280,
            both: 2,
            rejects: 30,
            skipped: 9,
            production: 400,
            ..Plan::workload()
        };
        let expected = crate::generate::generate(&plan, &dir).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        expected
    }

    /// A job, its files and its database after an import without differences.
    fn faultless(expected: &Expected) -> (Job, FilePage, Before, After) {
        let job = json!({
            "job_id": "j", "status": "completed",
            "counts": {
                "records": expected.records, "staged": expected.staged, "rejected": expected.rejected,
                "skipped": expected.skipped, "internal_duplicates": expected.internal_duplicates,
                "database_duplicates": expected.database_duplicates,
                "both_duplicates": expected.both_duplicates, "clean": expected.clean,
                "inserted": expected.clean, "late_duplicates": 0
            },
            "verification": {"verified": true, "actual_count": expected.clean}
        });
        let files: Vec<Value> = expected
            .files
            .iter()
            .map(|file| {
                json!({"key": format!("stage/m/b/{}", file.name), "records": file.records, "staged": file.staged,
                       "rejected": file.rejected, "skipped": file.skipped})
            })
            .collect();
        let after = After {
            merchant_total: 400 + expected.clean,
            codes_of_job: expected.clean,
            rejects_by_reason: expected.rejects_by_reason.clone(),
        };
        (
            serde_json::from_value(job).unwrap(),
            serde_json::from_value(json!({ "files": files })).unwrap(),
            Before { merchant_total: 400, existing_new_codes: 0 },
            after,
        )
    }

    #[test]
    fn an_import_with_the_expected_counts_has_no_differences() {
        let expected = expected();
        let (job, files, before, after) = faultless(&expected);
        let all = Comparison::after_completion(&expected, &job, &files, before, &after);
        assert!(all.is_equal(), "{}", all.table());
        let json = to_json(&all, &job, true, &Phases::default());
        assert_eq!((&json["equal"], &json["actual"]["clean"]), (&json!(true), &json!(expected.clean)));
        assert_eq!(json["expected"], json["actual"]);
    }

    #[test]
    fn each_difference_is_marked() {
        type Change = fn(&mut Job, &mut FilePage, &mut After);
        let changes: [(&str, Change); 8] = [
            ("staged", |job, _, _| job.counts.staged = job.counts.staged.map(|n| n + 1)),
            ("clean", |job, _, _| job.counts.clean = None),
            ("inserted", |job, _, _| job.counts.inserted = Some(0)),
            ("late duplicates", |job, _, _| job.counts.late_duplicates = Some(1)),
            ("verified", |job, _, _| job.verification["verified"] = json!(false)),
            ("in the database, of this job", |_, _, after| after.codes_of_job -= 1),
            ("files with equal counts", |_, files, _| files.files[1].rejected = Some(77)),
            ("rejected: made up", |_, _, after| {
                after.rejects_by_reason.insert("made_up".into(), 1);
            }),
        ];
        let expected = expected();
        for (label, change) in changes {
            let (mut job, mut files, before, mut after) = faultless(&expected);
            change(&mut job, &mut files, &mut after);
            let all = Comparison::after_completion(&expected, &job, &files, before, &after);
            let different: Vec<_> = all.0.iter().filter(|line| !line.is_equal()).collect();
            assert_eq!(different.len(), 1, "{label}: {different:?}");
            assert_eq!(different[0].label, label);
            assert!(all.table().contains("<-- differs") && !all.is_equal());
        }
    }

    #[test]
    fn a_second_import_of_the_same_batch_has_nothing_to_verify() {
        let expected = expected().imported_again();
        let (mut job, files, before, after) = faultless(&expected);
        job.verification = Value::Null;
        assert!(Comparison::after_completion(&expected, &job, &files, before, &after).is_equal());
    }

    #[test]
    fn a_failed_job_is_described_with_its_error_message_and_validation_errors() {
        let job = json!({"job_id": "j", "status": "failed", "error_message": "1 file was refused",
                         "validation_errors": ["codes-0001.csv: no column `code`", {"file": "b"}]});
        let text = describe_failure(&serde_json::from_value(job).unwrap());
        assert_eq!(
            text,
            "import j is failed: 1 file was refused\n  - codes-0001.csv: no column `code`\n  - {\"file\":\"b\"}"
        );
    }
}
