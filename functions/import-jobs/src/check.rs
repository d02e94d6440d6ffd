//! `POST /imports/check`: what opening and loading would say about each file, without doing either.

use futures_util::{StreamExt, TryStreamExt, stream};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::db::decisions::Actor;
use shared::db::files::FrozenObject;
use shared::domain::fault::{Fault, FaultReason};
use shared::domain::ids::MerchantId;
use shared::domain::layout::{Field, Layout};
use shared::domain::source::{Mapping, Options, Source, StartRequest};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::edge::App;
use shared::edge::csv_stream::ReadError;
use shared::edge::http::{Answer, Problem, body_of_member, json};
use shared::edge::inspect::{Head, look};
use shared::edge::objects::Objects;
use shared::edge::sources;
use shared::edge::tally::{Tally, text_of};
use std::io::Cursor;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// The gateway gives up after 30 s, the function after 29: what is not counted by then is estimated.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Heads that are read at a time.
const LOOKS: usize = 16;
/// Files that are counted at a time: one's parsing overlaps with another's fetching.
const COUNTS: usize = 4;
/// Lambda's answers end at 6 MB. Rows and rejects beyond this are left out, counts never.
const SAMPLE_BYTES: usize = 4_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckBody {
    merchant_id: MerchantId,
    #[serde(default)]
    files: Option<Vec<String>>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    mapping: Option<Mapping>,
}

pub async fn check(app: &App, actor: &Actor, request: &Request) -> Answer {
    let body: CheckBody = body_of_member(request, actor)?;
    let source = StartRequest {
        merchant_id: body.merchant_id,
        files: body.files,
        prefix: body.prefix,
        mapping: body.mapping,
        options: None,
    }
    .check()?;
    json(StatusCode::OK, &checked(app.objects(), source, TIME_LIMIT).await?)
}

/// What there is to say about a source. Whatever is not counted exactly within the time is estimated.
pub async fn checked(objects: &Objects, source: Source, limit: Duration) -> Result<Value, Problem> {
    let deadline = Instant::now() + limit;
    let refused = |error: StepError| match error.kind {
        StepErrorKind::InvalidInput => Problem::unprocessable("/prefix", format!("{error}.")),
        _ => error.into(),
    };
    let there = sources::resolve(objects, &source, None).await.map_err(refused)?;
    let heads: Vec<Checked> = stream::iter(there.objects)
        .map(|object| head_of(objects, object, &source))
        .buffered(LOOKS)
        .try_collect()
        .await?;
    let mut files: Vec<Checked> = stream::iter(heads)
        .map(|file| whole(objects, file, &source, deadline))
        .buffered(COUNTS)
        .collect()
        .await;
    files.extend(there.missing.into_iter().map(Checked::missing));
    files.sort_by(|a, b| a.object.key.cmp(&b.object.key));
    Ok(answer(&source, &files))
}

/// One file, and how much of it is known.
struct Checked {
    object: FrozenObject,
    found: Result<Found, Fault>,
}

struct Found {
    layout: Layout,
    bom: bool,
    tally: Tally,
    /// The tally is that of the whole file.
    exact: bool,
    /// Bytes of the object that the tally is made of.
    taken: i64,
}

impl Checked {
    fn missing(key: String) -> Self {
        let object = FrozenObject { key, version_id: None, etag: String::new(), bytes: 0 };
        let fault = Fault::new(FaultReason::MissingObject, "there is no such object");
        Self { object, found: Err(fault) }
    }
}

/// Reads the head: of a small file that is all of it.
async fn head_of(objects: &Objects, object: FrozenObject, source: &Source) -> StepResult<Checked> {
    let (layout, head) = match look(objects, &object, &source.mapping).await? {
        Ok(found) => found,
        Err(fault) => return Ok(Checked { object, found: Err(fault) }),
    };
    let bom = head.text.starts_with(&[0xef, 0xbb, 0xbf]);
    let mut tally = Tally::default();
    let text = Box::pin(Cursor::new(head.whole_lines().to_vec()));
    let counted = tally.count(text, &layout, source.merchant, Options::default().max_rejects).await;
    let Head { ended, taken, .. } = head;
    let found = match counted {
        // A quote that is open where the head ends may close below.
        Err(ReadError::File(fault)) if ended => Err(fault),
        _ => Ok(Found { layout, bom, tally, exact: ended, taken }),
    };
    Ok(Checked { object, found })
}

/// Counts the rest of a file that is longer than its head, as far as the time goes.
async fn whole(objects: &Objects, file: Checked, source: &Source, deadline: Instant) -> Checked {
    let Checked { object, found } = file;
    let mut head = match found {
        Ok(head) if !head.exact => head,
        found => return Checked { object, found },
    };
    let (objects, layout, merchant) = (objects.clone(), head.layout.clone(), source.merchant);
    let counting = async move |object: &FrozenObject| {
        let mut tally = Tally::default();
        let (text, taken) = text_of(&objects, object, layout.compression);
        let max_rejects = Options::default().max_rejects;
        let counted =
            tokio::time::timeout_at(deadline, tally.count(text, &layout, merchant, max_rejects)).await;
        (tally, taken.load(Ordering::Relaxed), counted)
    };
    // A task of its own: parsing takes a processor, of which there may be more than one.
    let moved = object.clone();
    let (tally, taken, counted) = match tokio::spawn(async move { counting(&moved).await }).await {
        Ok(counted) => counted,
        Err(error) => {
            tracing::error!(%error, key = %object.key, "counting panicked");
            return Checked { object, found: Ok(head) };
        }
    };
    match counted {
        Ok(Err(ReadError::File(fault))) => return Checked { object, found: Err(fault) },
        Ok(Ok(())) => head.exact = true,
        Ok(Err(ReadError::Source(error))) => {
            tracing::warn!(%error, key = %object.key, "S3 broke off: the count is an estimate");
        }
        Err(_) => {}
    }
    if head.exact || tally.records() > head.tally.records() {
        (head.tally, head.taken) = (tally, taken);
    }
    Checked { object, found: Ok(head) }
}

fn answer(source: &Source, files: &[Checked]) -> Value {
    let mut sample_bytes = 0;
    let (mut faults, mut bytes, mut exact) = (0, 0, true);
    let (mut records, mut staged, mut rejected, mut skipped) = (0, 0, 0, 0);
    let mut shown = Vec::new();
    for file in files {
        bytes += file.object.bytes;
        let mut one = match &file.found {
            Ok(found) => {
                let part = Estimate::of(found, file.object.bytes);
                exact &= found.exact;
                records += part.records;
                staged += part.staged;
                rejected += part.rejected;
                skipped += part.skipped;
                known(found, &part)
            }
            Err(fault) => {
                faults += 1;
                json!({ "fault": { "reason": fault.reason, "line": fault.line, "detail": fault.detail,
                                   "advice": fault.reason.advice() } })
            }
        };
        one["key"] = json!(file.object.key);
        one["version_id"] = json!(file.object.version_id);
        one["bytes"] = json!(file.object.bytes);
        if let Ok(found) = &file.found {
            let sample = json!([found.tally.rows, found.tally.rejects]);
            sample_bytes += sample.to_string().len();
            let fits = sample_bytes <= SAMPLE_BYTES;
            one["rows"] = if fits { json!(found.tally.rows) } else { json!([]) };
            one["rejects"] = if fits { json!(found.tally.rejects) } else { json!([]) };
            one["samples_left_out"] = json!(!fits);
        }
        shown.push(one);
    }
    json!({
        "merchant_id": source.merchant,
        "importable": faults == 0,
        "files": shown,
        "totals": {
            "files": files.len(), "faults": faults, "bytes": bytes,
            "records": { "count": records, "exact": exact && faults == 0 },
            "staged": staged, "rejected": rejected, "skipped": skipped,
        },
    })
}

/// Counts of a file, blown up to its size where only a part was counted.
struct Estimate {
    records: i64,
    staged: i64,
    rejected: i64,
    skipped: i64,
}

impl Estimate {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn of(found: &Found, bytes: i64) -> Self {
        let factor =
            if found.exact || found.taken <= 0 { 1.0 } else { (bytes as f64 / found.taken as f64).max(1.0) };
        let blown = |count: i64| (count as f64 * factor).round() as i64;
        let tally = &found.tally;
        let (staged, rejected, skipped) = (blown(tally.staged), blown(tally.rejected), blown(tally.skipped));
        Self { records: staged + rejected + skipped, staged, rejected, skipped }
    }
}

fn known(found: &Found, counts: &Estimate) -> Value {
    let Found { layout, tally, .. } = found;
    let mapping: Map<String, Value> = Field::ALL
        .into_iter()
        .filter_map(|field| {
            Some((field.as_str().to_owned(), json!(layout.header.get(layout.column(field)?)?)))
        })
        .collect();
    let missing: Vec<&str> =
        Field::ALL.into_iter().filter(|field| layout.column(*field).is_none()).map(Field::as_str).collect();
    let recognised: Vec<&str> = mapping.keys().map(String::as_str).collect();
    json!({
        "compression": layout.compression,
        "encoding": "utf-8",
        "bom": found.bom,
        "delimiter": char::from(layout.delimiter).to_string(),
        "header": layout.header,
        "columns": { "recognised": recognised, "ignored": layout.unknown, "missing": missing },
        "mapping": mapping,
        "records": { "count": counts.records, "exact": found.exact },
        "staged": counts.staged,
        "rejected": counts.rejected,
        "skipped": counts.skipped,
        "rejected_by_reason": tally.reasons,
        "fault": null,
    })
}
