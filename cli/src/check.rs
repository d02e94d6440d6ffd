//! `onceload check`: what an import would make of files.

use crate::Said;
use crate::args::Check;
use crate::commands::Session;
use crate::failure::{Exit, Failure, Outcome};
use crate::import::{Uploaded, provide};
use crate::words::{bytes, count, number, text};
use serde_json::Value;

/// So many rows and rejects of a file are shown to people.
const SHOWN: usize = 3;

pub fn check(session: &Session, args: &Check) -> Outcome<Said> {
    let Uploaded { request, prefix } = provide(session, &args.source)?;
    let mut checked = session.api.post("/imports/check", &Value::Object(request))?;
    checked["prefix"] = Value::String(prefix.clone());
    let mut lines = Vec::new();
    for file in checked["files"].as_array().into_iter().flatten() {
        describe(file, &mut lines);
    }
    let faults = number(&checked, "/totals/faults");
    let exact = if checked["totals"]["records"]["exact"] == Value::Bool(true) { "" } else { "about " };
    lines.push(format!(
        "{} files, {}: {exact}{} records",
        number(&checked, "/totals/files"),
        bytes(number(&checked, "/totals/bytes").unsigned_abs()),
        count(number(&checked, "/totals/records/count")),
    ));
    if faults > 0 {
        let message = format!("{}\n\n{faults} files can't be imported.", lines.join("\n"));
        return Err(Failure::new(Exit::ImportFailed, message).with(checked));
    }
    lines.push(format!("\nImport them:  onceload import --prefix {prefix}"));
    Ok(Said { text: lines.join("\n"), document: checked })
}

fn describe(file: &Value, lines: &mut Vec<String>) {
    let name = text(file, "/key").rsplit('/').next().unwrap_or_default();
    if let Some(fault) = file.get("fault").filter(|fault| !fault.is_null()) {
        let line = fault["line"].as_u64().map(|line| format!(", line {line}")).unwrap_or_default();
        lines.push(format!("{name}{line}: {} ({})", text(fault, "/reason"), text(fault, "/detail")));
        lines.push(format!("  {}", text(fault, "/advice")));
        return;
    }
    let delimiter = match text(file, "/delimiter") {
        "\t" => "tab",
        other => other,
    };
    let about = if file["records"]["exact"] == Value::Bool(true) { "" } else { "about " };
    lines.push(format!(
        "{name}: {about}{} records, {} rejected; delimiter {delimiter}, {}, {}",
        count(number(file, "/records/count")),
        count(number(file, "/rejected")),
        text(file, "/encoding"),
        match text(file, "/compression") {
            "none" => "not compressed",
            compression => compression,
        },
    ));
    let names = |pointer: &str| {
        let names = file.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let mapping: Vec<String> = file["mapping"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, header)| match header.as_str() {
            Some(header) if header != field => format!("{field} from `{header}`"),
            _ => field.clone(),
        })
        .collect();
    lines.push(format!("  takes {}", mapping.join(", ")));
    for (pointer, what) in [("/columns/ignored", "ignores"), ("/columns/missing", "lacks")] {
        let names = names(pointer);
        if !names.is_empty() {
            lines.push(format!("  {what} {names}"));
        }
    }
    for reject in file["rejects"].as_array().into_iter().flatten().take(SHOWN) {
        let (line, reason, detail) =
            (number(reject, "/line"), text(reject, "/reason"), text(reject, "/detail"));
        lines.push(format!("  line {line} is rejected: {reason}, {detail}"));
    }
}
