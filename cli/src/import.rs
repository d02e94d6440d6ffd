//! `onceload import`: upload, start, follow.

use crate::Said;
use crate::api::refused;
use crate::args::{Import, Source};
use crate::commands::{Session, shown};
use crate::failure::{Exit, Failure, Outcome};
use crate::follow::{judged, rests};
use crate::upload;
use crate::words::{bytes, text};
use serde_json::{Map, Value, json};

/// What to import or check: a prefix that is there, or the keys of what was uploaded just now.
pub struct Uploaded {
    /// `merchant_id`, `files` or `prefix`, and `mapping`.
    pub request: Map<String, Value>,
    /// Where the files lie.
    pub prefix: String,
}

/// Uploads what is to be uploaded.
pub fn provide(session: &Session, source: &Source) -> Outcome<Uploaded> {
    let merchant = session.config.merchant()?.to_owned();
    let mut request = Map::from_iter([("merchant_id".to_owned(), json!(merchant))]);
    if !source.map.is_empty() {
        let mapping: Map<String, Value> = source.map.iter().map(|(f, h)| (f.clone(), json!(h))).collect();
        request.insert("mapping".into(), Value::Object(mapping));
    }
    if let Some(prefix) = &source.prefix {
        request.insert("prefix".into(), json!(prefix));
        return Ok(Uploaded { request, prefix: prefix.clone() });
    }
    let files = upload::files(&source.paths)?;
    let size = files.iter().map(|file| file.size).sum();
    session.say(&format!("Uploading {} files, {}", files.len(), bytes(size)));
    let batch = uuid::Uuid::now_v7().to_string();
    let parallel = usize::from(source.parallel);
    let keys = upload::upload(&session.api, &merchant, &batch, &files, parallel, session.json)?;
    request.insert("files".into(), json!(keys));
    Ok(Uploaded { request, prefix: format!("uploads/{merchant}/{batch}/") })
}

pub fn import(session: &Session, args: &Import) -> Outcome<Said> {
    const START: &str = "/imports/queue-processing";
    let Uploaded { mut request, prefix } = provide(session, &args.source)?;
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
        return busy(session, started.body, &prefix, args.no_follow);
    }
    if !(200..300).contains(&started.status) {
        return Err(refused("POST", START, started));
    }
    let job = text(&started.body, "/jobId").to_owned();
    session.say(&format!("Import {job}"));
    if args.no_follow {
        let text = format!("Under way. Follow it: onceload status {job} --follow");
        return Ok(Said { text, document: started.body });
    }
    Ok(shown(judged(session.follow(&job, rests)?)?))
}

/// Another import is in the way. If it is the caller's own, they see how it goes on.
fn busy(session: &Session, answer: Value, prefix: &str, no_follow: bool) -> Outcome<Said> {
    let says =
        ["/error", "/detail"].map(|member| text(&answer, member)).into_iter().find(|says| !says.is_empty());
    let says = says.unwrap_or("Another import is in the way.").to_owned();
    let minutes =
        answer["elapsedMinutes"].as_i64().map(|minutes| format!(" It has been working for {minutes} min."));
    let later = format!(
        "{says}{}\nThe files are uploaded. Import them later: onceload import --prefix {prefix}",
        minutes.unwrap_or_default()
    );
    let failure = |answer: Value| Failure::new(Exit::Conflict, later.clone()).with(answer);
    let job = text(&answer, "/jobId").to_owned();
    let own = session.api.get("/imports/queue-processing").map(|own| text(&own, "/jobId").to_owned());
    if no_follow || job.is_empty() || own.ok().as_deref() != Some(job.as_str()) {
        return Err(failure(answer));
    }
    session.say(&format!("{says} Following your import {job}."));
    let over = session.follow(&job, rests)?;
    session.say(&format!("{}\n", shown(over).text));
    Err(failure(answer))
}
