//! `onceload import`: uploads files, starts their import and follows it.

use crate::Output;
use crate::api::refusal;
use crate::args::{Import, Source};
use crate::commands::{Session, show};
use crate::failure::{Exit, Failure, Outcome};
use crate::follow::{fail_if_unsuccessful, is_at_rest};
use crate::terminal;
use crate::upload::{self, Local};
use crate::words::{self, bytes, shown, text};
use serde_json::{Map, Value, json};

/// The files to import or check: those under an existing prefix, or those that were just uploaded.
pub(crate) struct Uploaded {
    /// The request's `merchant_id`, `files` or `prefix`, and `mapping`.
    pub request: Map<String, Value>,
    /// The prefix of the files' keys.
    pub prefix: String,
}

/// Uploads the files of a command line; files under a prefix are already uploaded.
pub(crate) fn upload_files(session: &Session, source: &Source) -> Outcome<Uploaded> {
    let merchant = session.config.merchant()?.to_owned();
    let mut request = Map::from_iter([("merchant_id".to_owned(), json!(merchant))]);
    if !source.map.is_empty() {
        let mut mapping = Map::new();
        for (field, header) in &source.map {
            if mapping.insert(field.clone(), json!(header)).is_some() {
                let message = format!("--map names the field `{}` twice. Keep one.", terminal::part(field));
                return Err(Failure::new(Exit::Usage, message));
            }
        }
        request.insert("mapping".into(), Value::Object(mapping));
    }
    if let Some(prefix) = &source.prefix {
        request.insert("prefix".into(), json!(prefix));
        return Ok(Uploaded { request, prefix: prefix.clone() });
    }
    let (files, passed_over) = upload::list_files(&source.paths)?;
    if !passed_over.is_empty() {
        session.print_note(&format!("Passed over: {}", terminal::part(&passed_over.join(", "))));
    }
    let (batch, keys) = upload_batch(session, &merchant, &files, usize::from(source.parallel))?;
    request.insert("files".into(), json!(keys));
    Ok(Uploaded { request, prefix: format!("uploads/{merchant}/{batch}/") })
}

/// Uploads files into a batch of their own. Returns the batch and the files' keys.
pub(crate) fn upload_batch(
    session: &Session,
    merchant: &str,
    files: &[Local],
    parallel: usize,
) -> Outcome<(String, Vec<String>)> {
    let size = files.iter().map(|file| file.size).sum();
    session.print_note(&format!("Uploading {}, {}", words::files(files.len() as i64), bytes(size)));
    let batch = uuid::Uuid::now_v7().to_string();
    let keys = upload::upload(&session.api, merchant, &batch, files, parallel, session.json)?;
    Ok((batch, keys))
}

pub(crate) fn import(session: &Session, args: &Import) -> Outcome<Output> {
    const START: &str = "/imports/queue-processing";
    let Uploaded { mut request, prefix } = upload_files(session, &args.source)?;
    let mut options = Map::new();
    if let Some(ratio) = args.max_duplicate_ratio {
        options.insert("max_duplicate_ratio".into(), json!(ratio));
    }
    if let Some(rejects) = args.max_rejects {
        options.insert("max_rejects".into(), json!(rejects));
    }
    if !options.is_empty() {
        request.insert("options".into(), Value::Object(options));
    }
    let started = session.api.try_post(START, &Value::Object(request))?;
    if started.status == 409 {
        return handle_conflict(session, started.body, &prefix, args.no_follow);
    }
    if !(200..300).contains(&started.status) {
        return Err(refusal("POST", START, started));
    }
    let job = text(&started.body, "/jobId").to_owned();
    session.print_note(&format!("Import {job}"));
    if args.no_follow {
        let text = format!("The import has started. Follow it: onceload status {job} --follow");
        return Ok(Output { text, document: started.body });
    }
    Ok(show(fail_if_unsuccessful(session.follow(&job, is_at_rest)?)?))
}

/// Handles another import that is in the way: follows it if it is the caller's own. Fails either way.
fn handle_conflict(session: &Session, answer: Value, prefix: &str, no_follow: bool) -> Outcome<Output> {
    let reason =
        ["/error", "/detail"].map(|member| shown(&answer, member)).into_iter().find(|text| !text.is_empty());
    let reason = reason.unwrap_or_else(|| "Another import is in the way.".to_owned());
    let job = text(&answer, "/jobId").to_owned();
    if text(&answer, "/status") == "awaiting_approval" {
        let message = format!("{reason} Approve their import or cancel it: onceload status {job}");
        return Err(Failure::new(Exit::Conflict, message).with(answer));
    }
    let minutes =
        answer["elapsedMinutes"].as_i64().map(|minutes| format!(" It has been running for {minutes} min."));
    let later = format!(
        "{reason}{}\nThe files are uploaded. Import them later: onceload import --prefix {prefix}",
        minutes.unwrap_or_default()
    );
    let failure = |answer: Value| Failure::new(Exit::Conflict, later.clone()).with(answer);
    let own = session.api.get("/imports/queue-processing").map(|own| text(&own, "/jobId").to_owned());
    if no_follow || job.is_empty() || own.ok().as_deref() != Some(job.as_str()) {
        return Err(failure(answer));
    }
    session.print_note(&format!("{reason} Following your import {job}."));
    let ended = session.follow(&job, is_at_rest)?;
    session.print_note(&format!("{}\n", show(ended).text));
    Err(failure(answer))
}
