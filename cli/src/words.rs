//! Formats numbers, times and jobs for people.

use crate::findings;
use crate::terminal;
use serde_json::Value;
use std::fmt::Write;

/// `1234567` -> `1,234,567`
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "bytes" { format!("{number} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// `1` -> `1 file`
pub(crate) fn files(number: i64) -> String {
    if number == 1 { "1 file".to_owned() } else { format!("{} files", count(number)) }
}

/// `90` -> `1 min 30 s`
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).ceil();
    // Limited, so that the cast can't overflow.
    let whole = whole.min(1e9) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

pub(crate) fn text<'a>(job: &'a Value, pointer: &str) -> &'a str {
    job.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text as people see it.
pub(crate) fn shown(job: &Value, pointer: &str) -> String {
    terminal::part(text(job, pointer))
}

/// The last part of a key or a name: that of the file.
pub(crate) fn last_segment(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or_default()
}

pub(crate) fn number(job: &Value, pointer: &str) -> i64 {
    job.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// Why an import or a file failed. Files are named without the prefix of the batch that the command line made.
pub(crate) fn error_message(of: &Value) -> String {
    without_batch(&shown(of, "/error_message"))
}

/// `uploads/<merchant>/<batch>/a.csv: ...` -> `a.csv: ...`
fn without_batch(message: &str) -> String {
    let mut parts = message.split("uploads/");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut ids = part.splitn(3, '/');
        let is_id = |id: Option<&str>| id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok());
        match (is_id(ids.next()) && is_id(ids.next()), ids.next()) {
            (true, Some(rest)) => short.push_str(rest),
            _ => {
                short.push_str("uploads/");
                short.push_str(part);
            }
        }
    }
    short
}

/// The progress of an import in one line.
pub(crate) fn progress(job: &Value) -> String {
    let mut line = String::from(match (text(job, "/status"), text(job, "/phase")) {
        ("processing", "verifying") => "verifying",
        ("processing", _) => "inserting",
        ("pending", "waiting_for_merchant") => "waiting for another import of the merchant",
        ("awaiting_approval", "waiting_for_merchant") => {
            "approved, waiting for another import of the merchant"
        }
        ("completed", "rolling_back") => "rolling back",
        (_, "waiting_for_database") => "waiting for the database",
        (_, "waiting_for_storage") => "waiting for S3",
        (status, _) => status,
    });
    let (total_files, loaded) = (number(job, "/files/total"), number(job, "/files/loaded"));
    let status = text(job, "/status");
    if status == "loading" && total_files > 0 {
        let (done, total) = (number(job, "/bytes/done"), number(job, "/bytes/total"));
        let percent = if total > 0 { done * 100 / total } else { 0 };
        let file = (loaded + 1).min(total_files);
        let size = bytes(total.unsigned_abs());
        let _ = write!(line, ": File {file} of {total_files}, {percent} % of {size}");
    }
    if matches!(status, "checking" | "validating") {
        let (done, total) = (number(job, "/chunks/done"), number(job, "/chunks/total"));
        let _ = write!(line, ": {} rows, chunk {done} of {total}", count(number(job, "/counts/staged")));
    }
    if let Some(rate) = job["rate"].as_f64() {
        let _ = write!(line, ", {} rows/s", count(rate as i64));
    }
    if let Some(eta) = job["eta_seconds"].as_f64() {
        let _ = write!(line, ", {} left", seconds(eta));
    }
    line
}

/// The summary that an operator decides on.
pub(crate) fn summary(job: &Value) -> String {
    let mut lines = Vec::new();
    let size = bytes(number(job, "/bytes/total").unsigned_abs());
    lines.push(format!("Import {}: {}", shown(job, "/job_id"), shown(job, "/status").replace('_', " ")));
    lines.push(format!(
        "{}, {size}, started {}",
        files(number(job, "/files/total")),
        shown(job, "/created_at")
    ));
    lines.push(String::new());
    let mut row = |indent: usize, name: &str, pointer: &str, remark: &str| {
        if let Some(value) = job.pointer(pointer).and_then(Value::as_i64) {
            let name = format!("{}{name}", "  ".repeat(indent));
            lines.push(format!("{name:<28}{:>15}  {remark}", count(value)).trim_end().to_owned());
        }
    };
    row(0, "records", "/counts/records", "");
    row(1, "skipped", "/counts/skipped", "empty");
    let reasons = findings::rejects_by_reason(job);
    let kept = "kept with file, line and reason";
    row(
        1,
        "rejected",
        "/counts/rejected",
        &if reasons.is_empty() { kept.into() } else { format!("{kept}: {reasons}") },
    );
    row(1, "staged", "/counts/staged", "");
    row(2, "existing duplicates", "/counts/database_duplicates", "in production already");
    row(2, "internal duplicates", "/counts/internal_duplicates", "repeated in these files");
    row(3, "of both kinds", "/counts/both_duplicates", "");
    row(2, "clean", "/counts/clean", "");
    row(0, "inserted", "/counts/inserted", "");
    row(
        1,
        "late duplicates",
        "/counts/late_duplicates",
        "inserted into production by others since the check",
    );
    row(1, "deleted", "/counts/deleted", "by the rollback");
    row(1, "kept", "/counts/kept", "claimed since the import, referenced or in use");
    row(0, "codes of the merchant", "/counts/merchant_total", "");
    let estimate = job["insert_estimate_seconds"].as_f64();
    if let Some(estimate) = estimate.filter(|_| text(job, "/status") == "awaiting_approval") {
        lines.push(format!("inserting them takes about {}", seconds(estimate)));
    }
    if job["blocked"] == Value::Bool(true) {
        lines.push("BLOCKED: more duplicates than the import's options allow".to_owned());
    }
    // What was verified is gone after a rollback.
    let verified = job.pointer("/verification/verified").and_then(Value::as_bool);
    if let Some(verified) = verified.filter(|_| text(job, "/status") != "rolled_back") {
        lines.push(format!("verified: {}", if verified { "yes" } else { "NO" }));
    }
    if job["error_message"].is_string() {
        lines.push(error_message(job));
    }
    lines.extend(findings::of_import(job));
    lines.join("\n")
}

/// What a rollback would delete and keep now; `all`: also what was claimed.
pub(crate) fn preview(preview: &Value, all: bool) -> String {
    if preview["exact"] != Value::Bool(true) {
        return "What a rollback would keep could not be counted in time.".to_owned();
    }
    let of = |pointer| number(preview, pointer);
    let (claimed, referenced, both) = (of("/keep/claimed"), of("/keep/referenced"), of("/keep/both"));
    let (deleted, kept) = match all {
        true => (of("/delete") + claimed - both, referenced),
        false => (of("/delete"), claimed + referenced - both),
    };
    format!(
        "A rollback deletes {} codes now and keeps {}. Claimed: {}, referenced by other tables: {}, both: {}.",
        count(deleted),
        count(kept),
        count(claimed),
        count(referenced),
        count(both)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_preview_says_what_goes_and_what_stays() {
        let counts =
            json!({ "delete": 90, "keep": { "claimed": 7, "referenced": 5, "both": 2 }, "exact": true });
        let kinds = "Claimed: 7, referenced by other tables: 5, both: 2.";
        assert_eq!(preview(&counts, false), format!("A rollback deletes 90 codes now and keeps 10. {kinds}"));
        assert_eq!(preview(&counts, true), format!("A rollback deletes 95 codes now and keeps 5. {kinds}"));
        let unknown = json!({ "delete": null, "keep": { "claimed": null, "referenced": null, "both": null }, "exact": false });
        assert!(preview(&unknown, false).contains("could not be counted"));
    }

    #[test]
    fn numbers_sizes_and_times_are_formatted_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!((files(1).as_str(), files(63).as_str()), ("1 file", "63 files"));
        assert_eq!((bytes(999).as_str(), bytes(1500).as_str()), ("999 bytes", "1.5 kB"));
        assert_eq!((seconds(59.2).as_str(), seconds(3661.0).as_str()), ("1 min 0 s", "1 h 1 min"));
    }

    #[test]
    fn messages_name_files_without_the_batch() {
        let id = "0197a3c0-0000-7000-8000-00000000000a";
        let message =
            format!("2 of 3: uploads/{id}/{id}/a.csv: bad; uploads/{id}/b.csv: bad; uploads/x/{id}/c.csv");
        assert_eq!(
            without_batch(&message),
            format!("2 of 3: a.csv: bad; uploads/{id}/b.csv: bad; uploads/x/{id}/c.csv")
        );
    }

    #[test]
    fn progress_and_summary_show_only_what_is_known() {
        let job = json!({ "job_id": "j", "status": "loading", "phase": "loading", "rate": 1234.5, "eta_seconds": 61.0,
            "files": { "total": 63, "loaded": 4 }, "bytes": { "total": 2000, "done": 500 },
            "counts": { "records": 10, "clean": null } });
        assert_eq!(progress(&job), "loading: File 5 of 63, 25 % of 2.0 kB, 1,234 rows/s, 1 min 1 s left");
        let summary = summary(&job);
        assert!(
            summary.contains("records") && !summary.contains("clean"),
            "an unknown count is left out: {summary}"
        );
        let waiting =
            json!({ "job_id": "j", "status": "awaiting_approval", "insert_estimate_seconds": 90.0 });
        assert!(super::summary(&waiting).contains("inserting them takes about 1 min 30 s"));
        let verified = |status: &str| {
            let job = json!({ "job_id": "j", "status": status, "verification": { "verified": true } });
            super::summary(&job).contains("verified: yes")
        };
        assert!(verified("completed") && !verified("rolled_back"));
        let job = json!({ "job_id": "j", "status": "completed", "phase": "rolling_back", "rate": 10.0, "eta_seconds": 1.0 });
        assert_eq!(progress(&job), "rolling back, 10 rows/s, 1 s left");
    }
}
