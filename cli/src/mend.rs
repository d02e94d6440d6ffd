//! `onceload mend`: replaces a file of an import by a corrected one, or leaves it out.

use crate::Output;
use crate::args::Mend;
use crate::commands::{Session, show};
use crate::failure::{Exit, Failure, Outcome};
use crate::follow::{fail_if_unsuccessful, is_at_rest};
use crate::import::upload_batch;
use crate::upload;
use crate::words::{self, error_message, last_segment, number, shown, text};
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn mend(session: &Session, args: &Mend) -> Outcome<Output> {
    let job = session.find_job(args.followed.job.job)?;
    let id = text(&job, "/job_id").to_owned();
    let status = text(&job, "/status");
    // Before anything is uploaded; the service decides.
    if !matches!(status, "failed" | "awaiting_approval") {
        let message = format!(
            "The import is {}. Files are mended while it is failed or awaits approval.",
            status.replace('_', " ")
        );
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    let files = session.list_files(&id)?;
    let file = find_file(&files, &args.file)?;
    let name = last_segment(text(file, "/key"));
    let (body, note) = match &args.with {
        Some(path) => {
            let key = upload_one(session, text(&job, "/merchant_id"), path)?;
            let note = format!("{name} is replaced by {}", last_segment(&key));
            (json!({ "action": "replace", "key": key }), note)
        }
        None => (json!({ "action": "leave_out" }), format!("{name} is left out")),
    };
    let path = format!("/imports/{id}/files/{}", number(file, "/file_no"));
    let mended = session.api.post(&path, &body)?;
    session.print_note(&note);
    if text(&mended, "/status") == "failed" {
        let left = words::files(number(&mended, "/files/failed"));
        let text = format!(
            "The import goes on when the last failed file is mended or left out; {left} to go.\n{}",
            error_message(&mended)
        );
        return Ok(Output { text, document: mended });
    }
    if args.followed.no_follow {
        return Ok(show(mended));
    }
    Ok(show(fail_if_unsuccessful(session.follow(&id, is_at_rest)?)?))
}

/// Uploads one file, and returns its key.
fn upload_one(session: &Session, merchant: &str, path: &Path) -> Outcome<String> {
    if path.is_dir() {
        return Err(Failure::new(Exit::Usage, format!("{} is a folder; name one file.", path.display())));
    }
    let (files, _) = upload::list_files(&[path.to_owned()])?;
    let (_, keys) = upload_batch(session, merchant, &files, 1)?;
    keys.into_iter().next().ok_or_else(|| Failure::new(Exit::Usage, "Nothing was uploaded."))
}

/// The file that a person means: by its name or key, now or before it was replaced, or by its number.
fn find_file<'a>(files: &'a [Value], wanted: &str) -> Outcome<&'a Value> {
    let is_called = |key: &str| key == wanted || last_segment(key) == wanted;
    let is_named = |file: &&Value| is_called(text(file, "/key")) || is_called(text(file, "/replaces"));
    let mut found: Vec<&Value> = files.iter().filter(is_named).collect();
    if found.is_empty() {
        found = files.iter().filter(|file| number(file, "/file_no").to_string() == wanted).collect();
    }
    match found[..] {
        [file] => Ok(file),
        [] => {
            let message = format!("The import has no file {wanted}. List its files: onceload status --files");
            Err(Failure::new(Exit::Denied, message))
        }
        _ => {
            let line = |file: &&Value| format!("  {}  {}", number(file, "/file_no"), shown(file, "/key"));
            let lines: Vec<String> = found.iter().map(line).collect();
            let message = format!("Several files are called {wanted}. Give a number:\n{}", lines.join("\n"));
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_what_people_call_it() {
        let files = [
            json!({ "file_no": 1, "key": "uploads/m/b/a.csv", "replaces": null }),
            json!({ "file_no": 2, "key": "uploads/m/c/fixed.csv", "replaces": "stage/m/b/bad.csv" }),
            json!({ "file_no": 3, "key": "uploads/m/d/a.csv", "replaces": null }),
            json!({ "file_no": 4, "key": "uploads/m/d/2", "replaces": null }),
        ];
        let found = |wanted: &str| find_file(&files, wanted).map(|file| number(file, "/file_no"));
        for (wanted, number) in
            [("bad.csv", 2), ("fixed.csv", 2), ("uploads/m/d/a.csv", 3), ("3", 3), ("2", 4), ("1", 1)]
        {
            assert_eq!(found(wanted).expect("one file"), number, "{wanted}");
        }
        let several = found("a.csv").expect_err("several");
        assert!(
            several.message.contains("1  uploads/m/b/a.csv") && several.message.contains("\n  3  "),
            "{several}"
        );
        assert_eq!((several.exit, found("none.csv").expect_err("none").exit), (Exit::Usage, Exit::Denied));
    }
}
