//! Everything that a step leaves behind, in a form that two runs can be compared by.

use crate::db::TestDb;
use crate::objects::TestS3;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What differs from run to run and says nothing: clocks, counters of tries, ids of messages, the id of a multipart upload, of which
/// a lost answer leaves one more to the bucket's lifecycle, and the checks of a user, of which one that was cut off counts for half a
/// minute more.
const VOLATILE: [&str; 13] = [
    "updated_at",
    "next_attempt_at",
    "heartbeat_at",
    "attempts",
    "last_error",
    "replays",
    "response_body",
    "applied_on",
    "asked_at",
    "processing_started_at",
    "multipart_id",
    "checks",
    "insert_seconds",
];

/// All tables with their rows in order, the catalogue, the objects in S3 and the effects outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<String, Vec<String>>);

/// Ids that were there before the run. Any other id was made by it and differs from run to run.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(BTreeSet<String>);

impl Snapshot {
    pub(super) async fn take(db: &TestDb, s3: &TestS3, effects: Vec<String>, known: &Known) -> Self {
        let mut parts = BTreeMap::new();
        let mut add = |part: String, row: String| {
            parts.entry(known.hide_new(&part)).or_insert_with(Vec::new).push(known.hide_new(&row));
        };
        for (table, row) in read_tables(db).await {
            add(table, row);
        }
        for key in s3.keys() {
            let bytes = s3.get(&key).unwrap_or_default();
            let digest: String = Sha256::digest(&bytes).iter().take(8).map(|b| format!("{b:02x}")).collect();
            add("S3".to_owned(), format!("{key} {} {digest}", bytes.len()));
        }
        for effect in effects {
            add("effects".to_owned(), effect);
        }
        parts.values_mut().for_each(|rows| rows.sort());
        // What is repeated may announce its event, or wake its execution, once more.
        let may_repeat = |row: &String| row.contains("state_changed") || row.contains("task_success");
        parts.entry("onceload.outbox".to_owned()).or_default().dedup_by(|a, b| a == b && may_repeat(a));
        Self(parts)
    }

    /// What this one has and the expected one has not, and the other way round. Empty: they are equal.
    pub(super) fn differences(&self, expected: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let none = Vec::new();
        let parts: BTreeSet<&String> = self.0.keys().chain(expected.0.keys()).collect();
        for part in parts {
            let (has, should) = (self.0.get(part).unwrap_or(&none), expected.0.get(part).unwrap_or(&none));
            let lacking: Vec<&String> = missing(should, has).collect();
            let mut lacking = lacking.into_iter();
            for row in missing(has, should) {
                let other = lacking.next();
                all.push(format!(
                    "{part} has   {}",
                    other.map_or(row.clone(), |other| only_different(row, other))
                ));
                all.extend(other.map(|other| format!("{part} lacks {}", only_different(other, row))));
            }
            all.extend(lacking.map(|row| format!("{part} lacks {row}")));
        }
        all
    }
}

/// The members of the first row that the second has not, if both are rows.
fn only_different(row: &str, other: &str) -> String {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text);
    let (Ok(mut members), Ok(others)) = (read(row), read(other)) else { return row.to_owned() };
    members.retain(|name, value| others.get(name) != Some(value));
    Value::Object(members).to_string()
}

/// The rows of the first multiset that are not in the second.
fn missing<'a>(of: &'a [String], from: &[String]) -> impl Iterator<Item = &'a String> {
    let mut left: Vec<&String> = from.iter().collect();
    of.iter().filter(move |row| match left.iter().position(|other| other == row) {
        Some(at) => {
            left.swap_remove(at);
            false
        }
        None => true,
    })
}

impl Known {
    /// The ids in the database and in these texts.
    pub(super) async fn read(db: &TestDb, texts: &[String]) -> Self {
        let mut known = Self::default();
        for (table, row) in read_tables(db).await {
            known.add(&table);
            known.add(&row);
        }
        texts.iter().for_each(|text| known.add(text));
        known
    }

    fn add(&mut self, text: &str) {
        self.0.extend(ids(text).map(|(from, until)| simple(&text[from..until])));
    }

    /// The text with `<new>` in the place of each id that is not known.
    pub(super) fn hide_new(&self, text: &str) -> String {
        let mut hidden = String::with_capacity(text.len());
        let mut at = 0;
        for (from, until) in ids(text) {
            hidden += &text[at..from];
            let id = &text[from..until];
            hidden += if self.0.contains(&simple(id)) { id } else { "<new>" };
            at = until;
        }
        hidden + &text[at..]
    }
}

fn simple(id: &str) -> String {
    id.chars().filter(|c| *c != '-').collect()
}

/// Where the UUIDs are: 32 hexadecimal digits, with or without hyphens, and no digit before or behind.
fn ids(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let from = at + bytes[at..].iter().position(u8::is_ascii_hexdigit)?;
            let length = bytes[from..].iter().position(|byte| !is_part(byte)).unwrap_or(bytes.len() - from);
            at = from + length;
            for end in [36, 32] {
                let id = text.get(from..from + end.min(length)).unwrap_or_default();
                let digits = id.bytes().filter(u8::is_ascii_hexdigit).count();
                let is_whole = bytes.get(from + end).is_none_or(|byte| !byte.is_ascii_hexdigit());
                if id.len() == end && digits == 32 && is_whole {
                    // A job's id may be followed by the number of its attempt.
                    at = from + end;
                    return Some((from, from + end));
                }
            }
        }
        None
    })
}

/// Table and row, each row as JSON without what is volatile; and what the catalogue says of the tables.
async fn read_tables(db: &TestDb) -> Vec<(String, String)> {
    const RELATIONS: &str = "SELECT n.nspname || '.' || c.relname, c.relkind, c.relpersistence
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname IN ('onceload', 'onceload_staging')";
    let mut all = Vec::new();
    let mut selects = Vec::new();
    for relation in db.rows(RELATIONS).await {
        let name = &relation[0];
        // Sorted codes that an insert could not drop go with its next run, or with the workspace.
        if name.starts_with("onceload_staging.s_") {
            continue;
        }
        all.push(("catalogue".to_owned(), relation.join(" ")));
        if relation[1] == "r" && name != "onceload.import_progress" {
            selects.push(format!("SELECT '{name}', to_jsonb(t) FROM {name} t"));
        }
    }
    if selects.is_empty() {
        return all;
    }
    for mut row in db.rows(&selects.join(" UNION ALL ")).await {
        let json: Value = serde_json::from_str(&row[1]).expect("a row as JSON");
        let table = row.swap_remove(0);
        let row = without_volatile(&table, json);
        all.push((table, row));
    }
    all
}

fn without_volatile(table: &str, mut row: Value) -> String {
    if let Value::Object(columns) = &mut row {
        columns.retain(|name, _| {
            let is_message = table == "onceload.outbox";
            !(VOLATILE.contains(&name.as_str()) || is_message && name == "id")
        });
        for (name, value) in columns.iter_mut() {
            // A time: whether there is one.
            if (name.ends_with("_at") || name.ends_with("_since")) && value.is_string() {
                *value = Value::Bool(true);
            }
        }
    }
    // An import that was woken in line and has not opened yet may have left the line: nobody knows whether its execution heard.
    if row["status"] == "pending" && row["phase"] == "waiting_for_merchant" && row["task_token"].is_null() {
        row["phase"] = "registered".into();
    }
    hide_times(&mut row);
    row.to_string()
}

/// Puts a word in the place of each time and each link in a JSON document.
pub(super) fn hide_times(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(hide_times),
        Value::Array(items) => items.iter_mut().for_each(hide_times),
        Value::String(text) if text.starts_with("http://") => *text = "<link>".to_owned(),
        Value::String(text) if is_time(text) => *text = "<time>".to_owned(),
        _ => {}
    }
}

/// Whether this is a time as JSON spells it: `2026-01-01T00:00:00Z`, with or without fractions.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 19 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':' && bytes[16] == b':'
}
