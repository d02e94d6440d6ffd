//! The commands on existing imports.

use crate::Output;
use crate::api::Api;
use crate::args::{Approve, Claimed, Clear, Followed, Global, History, Job, JobRef, Rollback, Status};
use crate::config::Config;
use crate::confirm::confirm;
use crate::failure::{Exit, Failure, Outcome};
use crate::findings;
use crate::follow::{self, fail_if_unsuccessful, has_ended, is_at_rest, is_in_line};
use crate::terminal;
use crate::words::{self, count, last_segment, number, shown, summary, text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A verification that takes longer has failed: no function runs as long.
const VERIFY_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The API, the caller's settings, and the form of the output.
pub(crate) struct Session {
    pub api: Api,
    pub config: Config,
    /// Whether the output is one JSON document without progress.
    pub json: bool,
}

impl Session {
    pub(crate) fn open(global: &Global) -> Outcome<Self> {
        let config = Config::find(global)?;
        Ok(Self { api: Api::new(&config), config, json: global.json })
    }

    /// Fetches the import that an argument names.
    pub(crate) fn find_job(&self, job: JobRef) -> Outcome<Value> {
        match job {
            JobRef::Id(id) => self.api.get(&format!("/imports/{id}")),
            JobRef::Last => {
                let path = format!("/imports?merchant_id={}&limit=1", self.config.merchant()?);
                let mut page = self.api.get(&path)?;
                match page["imports"].get_mut(0) {
                    Some(job) => Ok(job.take()),
                    None => Err(Failure::new(Exit::Denied, "The merchant has no imports.")),
                }
            }
        }
    }

    /// Fetches a list page by page: at most `most` entries. `query`: the path, and a query that ends in `?` or `&`.
    fn list(&self, query: &str, member: &str, most: usize) -> Outcome<Vec<Value>> {
        let (mut entries, mut cursor) = (Vec::new(), String::new());
        while entries.len() < most {
            let limit = (most - entries.len()).min(100);
            let mut page = self.api.get(&format!("{query}limit={limit}{cursor}"))?;
            entries.append(page[member].as_array_mut().unwrap_or(&mut Vec::new()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        Ok(entries)
    }

    /// Fetches the files of an import.
    pub(crate) fn list_files(&self, job: &str) -> Outcome<Vec<Value>> {
        self.list(&format!("/imports/{job}/files?"), "files", usize::MAX)
    }

    pub(crate) fn follow(&self, job: &str, done: impl Fn(&Value) -> bool) -> Outcome<Value> {
        follow::follow(&self.api, job, self.json, done)
    }

    /// Prints a line for people on standard error, so that standard output has only the result.
    pub(crate) fn print_note(&self, line: &str) {
        if !self.json {
            eprintln!("{}", terminal::lines(line));
        }
    }
}

/// Shows a job and what to do next.
pub(crate) fn show(job: Value) -> Output {
    let id = text(&job, "/job_id");
    let next = match text(&job, "/status") {
        "awaiting_approval" if is_in_line(&job) => {
            "\n\nIt is approved, and goes on when another import of the merchant has ended.".to_owned()
        }
        "awaiting_approval" => {
            let accept = if job["blocked"] == Value::Bool(true) { " --accept-duplicates" } else { "" };
            format!("\n\nIt waits for approval:  onceload approve {id}{accept}")
        }
        _ => String::new(),
    };
    Output { text: format!("{}{next}", summary(&job)), document: job }
}

fn id(job: &Value) -> String {
    text(job, "/job_id").to_owned()
}

pub(crate) fn status(session: &Session, args: &Status) -> Outcome<Output> {
    let mut job = session.find_job(args.job)?;
    if args.follow && !is_at_rest(&job) {
        job = fail_if_unsuccessful(session.follow(&id(&job), is_at_rest)?)?;
    }
    let id = id(&job);
    let progress = (!is_at_rest(&job)).then(|| words::progress(&job));
    let files = if args.files { Some(session.list_files(&id)?) } else { None };
    let mut output = show(job);
    if let Some(progress) = progress {
        output.text.push_str(&format!("\n\n{progress}"));
    }
    if let Some(files) = files {
        output.text.push('\n');
        for file in &files {
            output.text.push('\n');
            output.text.push_str(&file_line(file));
        }
        output.document["file_list"] = json!(files);
    }
    Ok(output)
}

fn file_line(file: &Value) -> String {
    let key = shown(file, "/key");
    let name = last_segment(&key);
    let counts = match file["records"].as_i64() {
        Some(records) => format!(
            "{} records, {} staged, {} rejected, {} skipped",
            count(records),
            count(number(file, "/staged")),
            count(number(file, "/rejected")),
            count(number(file, "/skipped"))
        ),
        None => words::error_message(file),
    };
    let replaces = shown(file, "/replaces");
    let replaces = match last_segment(&replaces) {
        "" => String::new(),
        old => format!(" (replaces {old})"),
    };
    let (number, status) = (number(file, "/file_no"), shown(file, "/status").replace('_', " "));
    let mut lines = vec![format!("{number:>4}  {status:<9} {name}{replaces}  {counts}")];
    lines.extend(findings::of_file(file));
    lines.join("\n")
}

pub(crate) fn approve(session: &Session, args: &Approve) -> Outcome<Output> {
    let job = session.find_job(args.followed.job.job)?;
    let status = text(&job, "/status");
    if status != "awaiting_approval" {
        let message = format!("The import is {}, so there is nothing to approve.", status.replace('_', " "));
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    session.print_note(&format!("{}\n", summary(&job)));
    let clean = number(&job, "/counts/clean");
    if args.clean_count.is_some_and(|wanted| i64::try_from(wanted) != Ok(clean)) {
        let message =
            format!("The import has {} clean codes, not the number that --clean-count gives.", count(clean));
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    if job["blocked"] == Value::Bool(true) && !args.accept_duplicates {
        let message = "There are more duplicates than the import's options allow. To insert the clean codes anyway, \
                       give --accept-duplicates.";
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    confirm(args.confirm.as_deref(), "YES", &format!("Insert {} codes?", count(clean)))?;
    let mut body = json!({ "confirm": "YES", "clean_count": clean });
    if args.accept_duplicates {
        body["accept_duplicates"] = json!(true);
    }
    let id = id(&job);
    let approved = session.api.post(&format!("/imports/{id}/approve"), &body)?;
    if args.followed.no_follow {
        return Ok(show(approved));
    }
    let done = fail_if_unsuccessful(session.follow(&id, is_at_rest)?)?;
    if text(&done, "/status") == "awaiting_approval" {
        let message = "Production has changed since the check. The import was checked again and waits for another approval.";
        return Err(Failure::new(Exit::Conflict, message).with(done));
    }
    Ok(show(done))
}

pub(crate) fn cancel(session: &Session, args: &Job) -> Outcome<Output> {
    let id = id(&session.find_job(args.job)?);
    session.api.post(&format!("/imports/{id}/cancel"), &json!({}))?;
    let over = session.follow(&id, |job| has_ended(text(job, "/status")))?;
    match text(&over, "/status") {
        "cancelled" => Ok(show(over)),
        status => {
            let message = format!("It was too late to cancel. The import is {}.", status.replace('_', " "));
            Err(Failure::new(Exit::Conflict, message).with(over))
        }
    }
}

pub(crate) fn retry(session: &Session, args: &Followed) -> Outcome<Output> {
    let id = id(&session.find_job(args.job.job)?);
    let retried = session.api.post(&format!("/imports/{id}/retry"), &json!({}))?;
    if args.no_follow {
        return Ok(show(retried));
    }
    Ok(show(fail_if_unsuccessful(session.follow(&id, is_at_rest)?)?))
}

pub(crate) fn rollback(session: &Session, args: &Rollback) -> Outcome<Output> {
    let job = session.find_job(args.followed.job.job)?;
    let status = text(&job, "/status");
    if status != "completed" {
        let message = format!(
            "The import is {}. Only a completed import can be rolled back.",
            status.replace('_', " ")
        );
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    let id = id(&job);
    let preview = session.api.get(&format!("/imports/{id}/rollback"))?;
    let all = args.claimed == Claimed::Delete;
    session.print_note(&format!("{}\n\n{}\n", summary(&job), words::preview(&preview, all)));
    let inserted = count(number(&job, "/counts/inserted"));
    let claimed = match args.claimed {
        Claimed::Keep => "Those that were claimed since stay.",
        Claimed::Delete => "Those that were claimed since are deleted too.",
    };
    let question = format!("Delete the {inserted} codes of this import? {claimed}");
    confirm(args.confirm.as_deref(), "DELETE", &question)?;
    let mut body = json!({ "confirm": "DELETE" });
    if all {
        body["claimed"] = json!("delete");
    }
    let asked = session.api.post(&format!("/imports/{id}/rollback"), &body)?;
    if args.followed.no_follow {
        return Ok(show(asked));
    }
    let ended = |job: &Value| text(job, "/status") != "completed" || text(job, "/phase") != "rolling_back";
    let done = session.follow(&id, ended)?;
    if text(&done, "/status") != "rolled_back" {
        return Err(Failure::new(Exit::ImportFailed, "The rollback failed; nothing was deleted.").with(done));
    }
    Ok(show(done))
}

pub(crate) fn verify(session: &Session, args: &Job) -> Outcome<Output> {
    let job = session.find_job(args.job)?;
    let (id, before) = (id(&job), job["verification"]["verified_at"].clone());
    session.api.post(&format!("/imports/{id}/verify"), &json!({}))?;
    let asked = Instant::now();
    let verified = |job: &Value| job["verification"]["verified_at"] != before;
    let found = session.follow(&id, |job| verified(job) || asked.elapsed() > VERIFY_LIMIT)?;
    if !verified(&found) {
        return Err(Failure::new(Exit::Unavailable, "The verification did not end in time.").with(found));
    }
    let verification = &found["verification"];
    if verification["verified"] != Value::Bool(true) {
        let problems: Vec<&str> =
            verification["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let message =
            format!("The verification found differences: {}.", terminal::part(&problems.join("; ")));
        return Err(Failure::new(Exit::ImportFailed, message).with(found));
    }
    let (expected, actual) =
        (number(&found, "/verification/expected_count"), number(&found, "/verification/actual_count"));
    let compared = match verification["compared"].as_str() {
        Some("count") => "nothing else is known of an import from before the adoption",
        _ => "the checksum is the same",
    };
    let text = format!("Verified: {} codes expected, {} found, {compared}.", count(expected), count(actual));
    Ok(Output { text, document: found })
}

pub(crate) fn clear(session: &Session, args: &Clear) -> Outcome<Output> {
    let id = id(&session.find_job(args.job.job)?);
    let question =
        format!("Remove the staged rows of import {id}? Its duplicates can't be exported afterwards.");
    confirm(args.confirm.as_deref(), "CLEAR", &question)?;
    let cleared = session.api.delete(&format!("/imports/{id}/staging"), &json!({ "confirm": "CLEAR" }))?;
    Ok(Output { text: format!("The staged rows of import {id} are gone."), document: cleared })
}

pub(crate) fn history(session: &Session, args: &History) -> Outcome<Output> {
    let mut query = format!("/imports?merchant_id={}", session.config.merchant()?);
    let filters = [
        ("status", args.status.clone()),
        ("month", args.month.clone()),
        ("created_by", args.user.map(|user| user.to_string())),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", percent_encode(&value)));
        }
    }
    let imports = session.list(&format!("{query}&"), "imports", args.limit)?;
    let lines: Vec<String> = imports.iter().map(history_line).collect();
    let text = if lines.is_empty() { "No imports.".to_owned() } else { lines.join("\n") };
    Ok(Output { text, document: json!({ "imports": imports }) })
}

fn history_line(job: &Value) -> String {
    let known = |pointer| job.pointer(pointer).and_then(Value::as_i64).map_or("-".to_owned(), count);
    format!(
        "{}  {}  {:<17} {:>4} files  {:>13} staged  {:>13} inserted",
        shown(job, "/job_id"),
        shown(job, "/created_at").get(..16).unwrap_or_default().replace('T', " "),
        shown(job, "/status"),
        number(job, "/files/total"),
        known("/counts/staged"),
        known("/counts/inserted"),
    )
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_percent_encoded() {
        assert_eq!(percent_encode("2026-11"), "2026-11");
        assert_eq!(percent_encode("a&b=ä"), "a%26b%3D%C3%A4");
    }
}
