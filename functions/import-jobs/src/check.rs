//! `POST /imports/check`: tells what opening and loading would say about each file, without doing either.

use crate::tally::{Tally, read_text};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::csv::head::Head;
use shared::csv::records::ReadError;
use shared::csv::rows::Rows;
use shared::db::{adoption, users};
use shared::domain::actor::Actor;
use shared::domain::fault::{Fault, FileFault};
use shared::domain::field::{Field, Mapping};
use shared::domain::ids::MerchantId;
use shared::domain::layout::{Destination, Layout};
use shared::domain::object::FrozenObject;
use shared::domain::remark::shorten;
use shared::domain::source::{Options, Selection, Source, StartRequest};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::domain::warning::Findings;
use shared::http::{Answer, Problem, json_answer, read_body_of_member};
use shared::lambda::App;
use shared::s3::objects::Objects;
use shared::source::inspect::read_head;
use shared::source::resolve::resolve;
use std::io::Cursor;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// How long files are counted; what is not counted by then is estimated. The gateway gives up after 30 s, the function
/// after 29.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// How many checks of one user run at a time. Each has an environment of the function for itself, and environments are what all
/// steps of all merchants share.
const MOST_CHECKS: i64 = 4;
/// After so long a check has ended, or the function was killed.
const CHECK_ENDS: Duration = Duration::from_secs(30);
/// How many heads are read at a time.
const HEADS: usize = 16;
/// How many files are counted at a time, so that the parsing of one overlaps with the fetching of another.
const COUNTS: usize = 4;
/// An answer's files are described whole up to so many bytes, then without header, samples and warnings, and beyond the second
/// bound they are only counted: Lambda's answers end at 6 MB.
const WHOLE_BYTES: usize = 3_000_000;
const ALL_BYTES: usize = 5_000_000;
/// How many columns of a header are shown, and how many bytes of each.
const SHOWN_COLUMNS: usize = 200;
const SHOWN_NAME_BYTES: usize = 255;

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

/// `POST /imports/check`
pub(crate) async fn check(app: &App, actor: &Actor, request: &Request) -> Answer {
    let body: CheckBody = read_body_of_member(request, actor)?;
    let source = StartRequest {
        merchant_id: body.merchant_id,
        files: body.files,
        prefix: body.prefix,
        mapping: body.mapping,
        options: None,
    }
    .check()?;
    let connection = app.db.connection().await?;
    let ends_at = users::begin_check(&connection, actor.user, MOST_CHECKS, CHECK_ENDS).await?;
    drop(connection);
    let ends_at = ends_at.ok_or_else(checks_in_progress)?;
    let checked = check_source(app, source, TIME_LIMIT).await;
    count_out(app, actor, ends_at).await;
    json_answer(StatusCode::OK, &checked?)
}

/// A check that can't be counted out counts until it is late.
async fn count_out(app: &App, actor: &Actor, ends_at: DateTime<Utc>) {
    let ended = async { users::end_check(&app.db.connection().await?, actor.user, ends_at).await };
    if let Err(error) = ended.await {
        tracing::warn!(%error, user_id = %actor.user, "a check that has ended still counts");
    }
}

/// 429, not 409: any of the caller's checks is in the way, and a later one is not.
fn checks_in_progress() -> Problem {
    let detail =
        format!("{MOST_CHECKS} checks of yours are still running. Try again when one of them has ended.");
    let mut problem =
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "check-in-progress", "Checks are running", detail);
    problem.retry_after = Some(5);
    problem
}

/// Checks every file of a source, as the API answers it. What can't be counted within the limit is estimated.
pub async fn check_source(app: &App, source: Source, limit: Duration) -> Result<Value, Problem> {
    let (objects, max_text) = (app.objects(), app.config.max_decompressed_bytes);
    let deadline = Instant::now() + limit;
    let resolved = resolve(objects, &app.db, &source, None).await.map_err(word_refusal)?;
    let destination = adoption::find_destination(&app.db.connection().await?).await?;
    let heads: Vec<Checked> = stream::iter(resolved.objects)
        .map(|object| check_head(objects, object, &source, &destination))
        .buffered(HEADS)
        .try_collect()
        .await?;
    let mut files: Vec<Checked> = stream::iter(heads)
        .map(|file| count_rest(objects, file, &source, max_text, deadline))
        .buffered(COUNTS)
        .collect()
        .await;
    files.extend(resolved.faults.into_iter().map(Checked::unseen));
    files.sort_by(|a, b| a.object.key.cmp(&b.object.key));
    let mut answer = describe(&source, &files);
    answer["passed_over"] = json!(resolved.passed_over);
    Ok(answer)
}

/// A prefix without files, or with too many, is a fault of the request.
fn word_refusal(error: StepError) -> Problem {
    match error.kind {
        StepErrorKind::InvalidInput => Problem::unprocessable("/prefix", format!("{error}.")),
        _ => error.into(),
    }
}

/// One file, and what is known of it: its fault, if it has one.
struct Checked {
    object: FrozenObject,
    found: Result<Found, Fault>,
}

struct Found {
    layout: Layout,
    bom: bool,
    tally: Tally,
    findings: Findings,
    /// Whether the tally is that of the whole file.
    exact: bool,
    /// How many bytes of the object were tallied.
    taken: i64,
}

impl Checked {
    /// A file that S3 doesn't show.
    fn unseen(FileFault { file, reason, line, detail }: FileFault) -> Self {
        Self { object: FrozenObject::missing(file), found: Err(Fault { reason, line, detail }) }
    }
}

/// Reads the head of a file and tallies it. The head of a small file is the whole file.
async fn check_head(
    objects: &Objects,
    object: FrozenObject,
    source: &Source,
    destination: &Destination,
) -> StepResult<Checked> {
    if let Selection::Prefix(_) = source.selection
        && let Some(fault) = Fault::unknown_name(&object.key)
    {
        return Ok(Checked { object, found: Err(fault) });
    }
    let (layout, head) = match read_head(objects, &object, &source.mapping).await? {
        Ok((layout, head)) => (layout.bound_for(destination), head),
        Err(fault) => return Ok(Checked { object, found: Err(fault) }),
    };
    let bom = head.text.starts_with(&[0xef, 0xbb, 0xbf]);
    let mut tally = Tally::default();
    let text = Box::pin(Cursor::new(head.whole_lines().to_vec()));
    let mut rows = Rows::new(text, &layout, source.merchant, Options::default().max_rejects);
    let counted = tally.count(&mut rows).await;
    let Head { ended, taken, .. } = head;
    let found = match counted {
        // A quote that is open at the end of the head may close further down, so only a whole file is at fault here.
        Err(ReadError::File(fault)) if ended => Err(fault),
        _ => Ok(Found { layout, bom, tally, findings: rows.findings(), exact: ended, taken }),
    };
    Ok(Checked { object, found })
}

/// Counts a file that is longer than its head, until the deadline. If the count doesn't get to the end, the larger of the
/// two tallies stays, as an estimate.
async fn count_rest(
    objects: &Objects,
    file: Checked,
    source: &Source,
    max_text: u64,
    deadline: Instant,
) -> Checked {
    let Checked { object, found } = file;
    let mut found = match found {
        Ok(head) if !head.exact => head,
        complete => return Checked { object, found: complete },
    };
    // A task of its own, because parsing keeps a processor busy and there may be more than one.
    let counting = tokio::spawn(count_until(
        deadline,
        objects.clone(),
        object.clone(),
        found.layout.clone(),
        source.merchant,
        max_text,
    ));
    let (counted, ended) = match counting.await {
        Ok(counted) => counted,
        Err(error) => {
            tracing::error!(%error, key = %object.key, "counting panicked");
            return Checked { object, found: Ok(found) };
        }
    };
    match ended {
        Ok(Err(ReadError::File(fault))) => return Checked { object, found: Err(fault) },
        Ok(Ok(())) => found.exact = true,
        Ok(Err(ReadError::Source(error))) => {
            tracing::warn!(%error, key = %object.key, "S3 broke off: the count is an estimate");
        }
        // Out of time.
        Err(_) => {}
    }
    if found.exact || counted.tally.records() > found.tally.records() {
        (found.tally, found.findings, found.taken) = (counted.tally, counted.findings, counted.taken);
    }
    Checked { object, found: Ok(found) }
}

/// How far a file was counted.
struct Counted {
    tally: Tally,
    findings: Findings,
    /// How many bytes of the object that covers.
    taken: i64,
}

/// Counts a file until the deadline, and tells how counting ended.
async fn count_until(
    deadline: Instant,
    objects: Objects,
    object: FrozenObject,
    layout: Layout,
    merchant: MerchantId,
    max_text: u64,
) -> (Counted, Result<Result<(), ReadError>, Elapsed>) {
    let mut tally = Tally::default();
    let (text, taken) = read_text(&objects, &object, layout.compression, max_text);
    let mut rows = Rows::new(text, &layout, merchant, Options::default().max_rejects);
    let ended = timeout_at(deadline, tally.count(&mut rows)).await;
    (Counted { tally, findings: rows.findings(), taken: taken.load(Ordering::Relaxed) }, ended)
}

/// The answer: the files and the totals.
fn describe(source: &Source, files: &[Checked]) -> Value {
    let mut totals = Estimate::default();
    let (mut faults, mut object_bytes, mut exact) = (0, 0, true);
    let (mut bytes, mut shown) = (0, Vec::new());
    for file in files {
        object_bytes += file.object.bytes;
        match &file.found {
            Ok(found) => {
                exact &= found.exact;
                totals.add(&Estimate::of(found, file.object.bytes));
            }
            Err(_) => faults += 1,
        }
        let fitting = [(false, WHOLE_BYTES), (true, ALL_BYTES)].into_iter().find_map(|(brief, most)| {
            let one = describe_file(file, brief);
            let all = bytes + one.to_string().len();
            (all <= most).then_some((one, all))
        });
        if let Some((one, all)) = fitting {
            bytes = all + 1;
            shown.push(one);
        }
    }
    json!({
        "merchant_id": source.merchant,
        // A file that was not counted to its end may hold good records further down.
        "importable": faults == 0 && (totals.staged > 0 || !exact),
        "files_left_out": files.len() - shown.len(),
        "files": shown,
        "totals": {
            "files": files.len(), "faults": faults, "bytes": object_bytes,
            "records": { "count": totals.records, "exact": exact && faults == 0 },
            "staged": totals.staged, "rejected": totals.rejected, "skipped": totals.skipped,
        },
    })
}

/// One file; `brief`: without header, samples and warnings.
fn describe_file(file: &Checked, brief: bool) -> Value {
    let mut one = match &file.found {
        Ok(found) => describe_found(found, &Estimate::of(found, file.object.bytes), brief),
        Err(fault) => describe_fault(fault),
    };
    one["key"] = json!(file.object.key);
    one["version_id"] = json!(file.object.version_id);
    one["bytes"] = json!(file.object.bytes);
    one
}

fn describe_fault(fault: &Fault) -> Value {
    json!({
        "fault": {
            "reason": fault.reason,
            "line": fault.line,
            "detail": fault.detail,
            "advice": fault.reason.advice(),
        },
        "warnings": [],
        "rejected_by_reason": {},
    })
}

fn describe_found(found: &Found, counts: &Estimate, brief: bool) -> Value {
    let Found { layout, tally, findings, .. } = found;
    let show = |name: &String| shorten(name, SHOWN_NAME_BYTES).into_owned();
    let (mut mapping, mut missing) = (Map::new(), Vec::new());
    for field in Field::ALL {
        match layout.column(field) {
            None => missing.push(field.as_str()),
            Some(column) => {
                mapping.extend(
                    layout.header.get(column).map(|header| (field.as_str().to_owned(), json!(show(header)))),
                );
            }
        }
    }
    let recognised: Vec<String> = mapping.keys().cloned().collect();
    let columns = if brief { 0 } else { SHOWN_COLUMNS };
    let (rows, rejects): (&[Value], &[Value]) =
        if brief { (&[], &[]) } else { (&tally.rows, &tally.rejects) };
    let warnings: &[_] = if brief { &[] } else { &findings.warnings };
    json!({
        "compression": layout.compression,
        "encoding": "utf-8",
        "bom": found.bom,
        "delimiter": char::from(layout.delimiter),
        "header": layout.header.iter().take(columns).map(show).collect::<Vec<_>>(),
        "columns": {
            "total": layout.header.len(),
            "recognised": recognised,
            "ignored": layout.unknown.iter().take(columns).map(show).collect::<Vec<_>>(),
            "missing": missing,
        },
        "mapping": if brief { Map::new() } else { mapping },
        "records": { "count": counts.records, "exact": found.exact },
        "staged": counts.staged,
        "rejected": counts.rejected,
        "skipped": counts.skipped,
        "warnings": warnings,
        "rejected_by_reason": findings.rejected_by_reason,
        "fault": null,
        "rows": rows,
        "rejects": rejects,
        "samples_left_out": brief,
    })
}

/// Counts of a file, scaled up to its size if only a part was counted.
#[derive(Default)]
struct Estimate {
    records: i64,
    staged: i64,
    rejected: i64,
    skipped: i64,
}

impl Estimate {
    #[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^53, where f64 is exact")]
    #[expect(clippy::cast_possible_truncation, reason = "a scaled count is far below 2^63")]
    fn of(found: &Found, bytes: i64) -> Self {
        let factor =
            if found.exact || found.taken <= 0 { 1.0 } else { (bytes as f64 / found.taken as f64).max(1.0) };
        let scale = |count: i64| (count as f64 * factor).round() as i64;
        let tally = &found.tally;
        let (staged, rejected, skipped) = (scale(tally.staged), scale(tally.rejected), scale(tally.skipped));
        Self { records: staged + rejected + skipped, staged, rejected, skipped }
    }

    fn add(&mut self, more: &Self) {
        self.records += more.records;
        self.staged += more.staged;
        self.rejected += more.rejected;
        self.skipped += more.skipped;
    }
}
