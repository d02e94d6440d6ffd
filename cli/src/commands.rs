//! The verbs on imports that are there.

use crate::Said;
use crate::api::Api;
use crate::args::{Approve, Claimed, Clear, Followed, Global, History, Job, JobRef, Rollback, Status};
use crate::config::Config;
use crate::confirm::confirm;
use crate::failure::{Exit, Failure, Outcome};
use crate::follow::{is_final, judged, rests, until};
use crate::words::{self, count, number, summary, text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A verification that takes longer has failed: no function lives as long.
const VERIFY_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Who calls which API, and how they want to be answered.
pub struct Session {
    pub api: Api,
    pub config: Config,
    /// One JSON document, no progress.
    pub json: bool,
}

impl Session {
    pub fn open(global: &Global) -> Outcome<Self> {
        let config = Config::find(global)?;
        Ok(Self { api: Api::new(&config), config, json: global.json })
    }

    /// The import that is meant.
    pub fn job(&self, job: JobRef) -> Outcome<Value> {
        match job {
            JobRef::Id(id) => self.api.get(&format!("/imports/{id}")),
            JobRef::Last => {
                let path = format!("/imports?merchant_id={}&limit=1", self.config.merchant()?);
                let mut page = self.api.get(&path)?;
                match page["imports"].get_mut(0) {
                    Some(job) => Ok(job.take()),
                    None => Err(Failure::new(Exit::Denied, "The merchant has no imports yet.")),
                }
            }
        }
    }

    pub fn follow(&self, job: &str, done: impl Fn(&Value) -> bool) -> Outcome<Value> {
        until(&self.api, job, self.json, done)
    }

    /// For people, on standard error, so that standard output is the result alone.
    pub fn say(&self, line: &str) {
        if !self.json {
            eprintln!("{line}");
        }
    }
}

/// The job, with what to do next.
pub fn shown(job: Value) -> Said {
    let id = text(&job, "/job_id");
    let next = match text(&job, "/status") {
        "awaiting_approval" => format!("\n\nIt waits for approval:  onceload approve {id}"),
        _ => String::new(),
    };
    Said { text: format!("{}{next}", summary(&job)), document: job }
}

fn id(job: &Value) -> String {
    text(job, "/job_id").to_owned()
}

pub fn status(session: &Session, args: &Status) -> Outcome<Said> {
    let mut job = session.job(args.job)?;
    if args.follow && !rests(&job) {
        job = judged(session.follow(&id(&job), rests)?)?;
    }
    let id = id(&job);
    let progress = (!rests(&job)).then(|| words::progress(&job));
    let files = if args.files { Some(session.api.get(&format!("/imports/{id}/files"))?) } else { None };
    let mut said = shown(job);
    if let Some(progress) = progress {
        said.text.push_str(&format!("\n\n{progress}"));
    }
    if let Some(files) = files {
        said.text.push('\n');
        for file in files["files"].as_array().into_iter().flatten() {
            said.text.push('\n');
            said.text.push_str(&file_line(file));
        }
        said.document["file_list"] = files["files"].clone();
    }
    Ok(said)
}

fn file_line(file: &Value) -> String {
    let name = text(file, "/key").rsplit('/').next().unwrap_or_default();
    let counts = match file["records"].as_i64() {
        Some(records) => format!(
            "{} records, {} staged, {} rejected, {} skipped",
            count(records),
            count(number(file, "/staged")),
            count(number(file, "/rejected")),
            count(number(file, "/skipped"))
        ),
        None => text(file, "/error_message").to_owned(),
    };
    format!("{:<9} {name}  {counts}", text(file, "/status"))
}

pub fn approve(session: &Session, args: &Approve) -> Outcome<Said> {
    let job = session.job(args.followed.job.job)?;
    let status = text(&job, "/status");
    if status != "awaiting_approval" {
        let message = format!("The import is {}: there is nothing to approve.", status.replace('_', " "));
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    session.say(&format!("{}\n", summary(&job)));
    let clean = number(&job, "/counts/clean");
    if args.clean_count.is_some_and(|wanted| i64::try_from(wanted) != Ok(clean)) {
        let message = format!("{} codes are clean, not as many as --clean-count says.", count(clean));
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    if job["blocked"] == Value::Bool(true) && !args.accept_duplicates {
        let message = "More is duplicate than the import's options allow. To import the rest all the same, \
                       say --accept-duplicates.";
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
        return Ok(shown(approved));
    }
    let done = judged(session.follow(&id, rests)?)?;
    if text(&done, "/status") == "awaiting_approval" {
        let message = "Production has changed since the check: the import was checked again and waits for another approval.";
        return Err(Failure::new(Exit::Conflict, message).with(done));
    }
    Ok(shown(done))
}

pub fn cancel(session: &Session, args: &Job) -> Outcome<Said> {
    let id = id(&session.job(args.job)?);
    session.api.post(&format!("/imports/{id}/cancel"), &json!({}))?;
    let over = session.follow(&id, |job| is_final(text(job, "/status")))?;
    match text(&over, "/status") {
        "cancelled" => Ok(shown(over)),
        status => {
            let message = format!("It was too late to cancel: the import is {status}.");
            Err(Failure::new(Exit::Conflict, message).with(over))
        }
    }
}

pub fn retry(session: &Session, args: &Followed) -> Outcome<Said> {
    let id = id(&session.job(args.job.job)?);
    let retried = session.api.post(&format!("/imports/{id}/retry"), &json!({}))?;
    if args.no_follow {
        return Ok(shown(retried));
    }
    Ok(shown(judged(session.follow(&id, rests)?)?))
}

pub fn rollback(session: &Session, args: &Rollback) -> Outcome<Said> {
    let job = session.job(args.followed.job.job)?;
    let status = text(&job, "/status");
    if status != "completed" {
        let message =
            format!("The import is {}: only a completed one can be rolled back.", status.replace('_', " "));
        return Err(Failure::new(Exit::Conflict, message).with(job));
    }
    session.say(&format!("{}\n", summary(&job)));
    let inserted = count(number(&job, "/counts/inserted"));
    let claimed = match args.claimed {
        Claimed::Keep => "Those that were claimed since stay.",
        Claimed::Delete => "Those that were claimed since are deleted, too.",
    };
    let question = format!("Delete the {inserted} codes of this import? {claimed}");
    confirm(args.confirm.as_deref(), "DELETE", &question)?;
    let mut body = json!({ "confirm": "DELETE" });
    if args.claimed == Claimed::Delete {
        body["claimed"] = json!("delete");
    }
    let id = id(&job);
    let asked = session.api.post(&format!("/imports/{id}/rollback"), &body)?;
    if args.followed.no_follow {
        return Ok(shown(asked));
    }
    let over = |job: &Value| text(job, "/status") != "completed" || text(job, "/phase") != "rolling_back";
    let done = session.follow(&id, over)?;
    if text(&done, "/status") != "rolled_back" {
        return Err(Failure::new(Exit::ImportFailed, "The rollback failed; nothing was deleted.").with(done));
    }
    Ok(shown(done))
}

pub fn verify(session: &Session, args: &Job) -> Outcome<Said> {
    let job = session.job(args.job)?;
    let (id, before) = (id(&job), job["verification"]["verified_at"].clone());
    session.api.post(&format!("/imports/{id}/verify"), &json!({}))?;
    let asked = Instant::now();
    let verified = |job: &Value| job["verification"]["verified_at"] != before;
    let found = session.follow(&id, |job| verified(job) || asked.elapsed() > VERIFY_LIMIT)?;
    if !verified(&found) {
        return Err(Failure::new(Exit::Unavailable, "The verification has not come to an end.").with(found));
    }
    let verification = &found["verification"];
    if verification["verified"] != Value::Bool(true) {
        let problems: Vec<&str> =
            verification["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let message = format!("The verification is off: {}.", problems.join("; "));
        return Err(Failure::new(Exit::ImportFailed, message).with(found));
    }
    let (expected, actual) =
        (number(&found, "/verification/expected_count"), number(&found, "/verification/actual_count"));
    let text = format!(
        "Verified: {} codes expected, {} found, the checksum is the same.",
        count(expected),
        count(actual)
    );
    Ok(Said { text, document: found })
}

pub fn clear(session: &Session, args: &Clear) -> Outcome<Said> {
    let id = id(&session.job(args.job.job)?);
    let question =
        format!("Remove the staged rows of import {id}? Its duplicates can't be exported afterwards.");
    confirm(args.confirm.as_deref(), "CLEAR", &question)?;
    let cleared = session.api.delete(&format!("/imports/{id}/staging"), &json!({ "confirm": "CLEAR" }))?;
    Ok(Said { text: format!("The staged rows of import {id} are gone."), document: cleared })
}

pub fn history(session: &Session, args: &History) -> Outcome<Said> {
    let mut query = format!("/imports?merchant_id={}", session.config.merchant()?);
    let filters = [
        ("status", args.status.clone()),
        ("month", args.month.clone()),
        ("created_by", args.user.map(|user| user.to_string())),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", escaped(&value)));
        }
    }
    let (mut imports, mut cursor) = (Vec::new(), String::new());
    while imports.len() < args.limit {
        let limit = (args.limit - imports.len()).min(100);
        let mut page = session.api.get(&format!("{query}&limit={limit}{cursor}"))?;
        imports.append(page["imports"].as_array_mut().unwrap_or(&mut Vec::new()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let lines: Vec<String> = imports.iter().map(history_line).collect();
    let text = if lines.is_empty() { "No imports.".to_owned() } else { lines.join("\n") };
    Ok(Said { text, document: json!({ "imports": imports }) })
}

fn history_line(job: &Value) -> String {
    let known = |pointer| job.pointer(pointer).and_then(Value::as_i64).map_or("-".to_owned(), count);
    format!(
        "{}  {}  {:<17} {:>4} files  {:>13} staged  {:>13} inserted",
        text(job, "/job_id"),
        text(job, "/created_at").get(..16).unwrap_or_default().replace('T', " "),
        text(job, "/status"),
        number(job, "/files/total"),
        known("/counts/staged"),
        known("/counts/inserted"),
    )
}

/// RFC 3986: everything but unreserved characters.
fn escaped(text: &str) -> String {
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
    fn filters_are_escaped() {
        assert_eq!(escaped("2026-11"), "2026-11");
        assert_eq!(escaped("a&b=ä"), "a%26b%3D%C3%A4");
    }
}
