//! `onceload check`: shows what an import would find in files.

use crate::Output;
use crate::args::Check;
use crate::commands::Session;
use crate::failure::{Exit, Failure, Outcome};
use crate::findings;
use crate::import::{Uploaded, upload_files};
use crate::terminal;
use crate::words::{bytes, count, files, last_segment, number, shown, text};
use serde_json::Value;

/// How many rejects of a file people see.
const SHOWN_REJECTS: usize = 3;

pub(crate) fn check(session: &Session, args: &Check) -> Outcome<Output> {
    let Uploaded { request, prefix } = upload_files(session, &args.source)?;
    let mut checked = session.api.post("/imports/check", &Value::Object(request))?;
    checked["prefix"] = Value::String(prefix.clone());
    let mut lines = Vec::new();
    for file in checked["files"].as_array().into_iter().flatten() {
        describe(file, &mut lines);
    }
    let passed_over: Vec<&str> =
        checked["passed_over"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !passed_over.is_empty() {
        lines.push(format!("Passed over: {}", terminal::part(&passed_over.join(", "))));
    }
    match number(&checked, "/files_left_out") {
        0 => {}
        more => lines.push(format!("... and {}", files(more))),
    }
    let faults = number(&checked, "/totals/faults");
    let exact = if checked["totals"]["records"]["exact"] == Value::Bool(true) { "" } else { "about " };
    lines.push(format!(
        "{}, {}: {exact}{} records",
        files(number(&checked, "/totals/files")),
        bytes(number(&checked, "/totals/bytes").unsigned_abs()),
        count(number(&checked, "/totals/records/count")),
    ));
    if faults > 0 {
        let message = format!("{}\n\n{} can't be imported.", lines.join("\n"), files(faults));
        return Err(Failure::new(Exit::ImportFailed, message).with(checked));
    }
    if checked["importable"] == Value::Bool(false) {
        let message = format!("{}\n\nNone of the records can be imported.", lines.join("\n"));
        return Err(Failure::new(Exit::ImportFailed, message).with(checked));
    }
    let map = map_options(args.source.map.iter().map(|(field, header)| (field.as_str(), header.as_str())));
    lines.push(format!(
        "\nImport them:  onceload import --prefix {}{}",
        terminal::part(&prefix),
        terminal::part(&map)
    ));
    Ok(Output { text: lines.join("\n"), document: checked })
}

fn describe(file: &Value, lines: &mut Vec<String>) {
    let key = shown(file, "/key");
    let name = last_segment(&key);
    if let Some(fault) = file.get("fault").filter(|fault| !fault.is_null()) {
        let line = fault["line"].as_u64().map(|line| format!(", line {line}")).unwrap_or_default();
        lines.push(format!("{name}{line}: {} ({})", shown(fault, "/reason"), shown(fault, "/detail")));
        lines.push(format!("  {}", shown(fault, "/advice")));
        return;
    }
    let delimiter = match text(file, "/delimiter") {
        "\t" => "tab",
        other => other,
    };
    let reasons = findings::rejects_by_reason(file);
    let about = if file["records"]["exact"] == Value::Bool(true) { "" } else { "about " };
    lines.push(format!(
        "{name}: {about}{} records, {} rejected{}; delimiter {delimiter}, {}, {}",
        count(number(file, "/records/count")),
        count(number(file, "/rejected")),
        if reasons.is_empty() { String::new() } else { format!(" ({reasons})") },
        text(file, "/encoding"),
        match text(file, "/compression") {
            "none" => "not compressed",
            compression => compression,
        },
    ));
    let names = |pointer: &str| {
        let names = file.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).map(terminal::part).collect::<Vec<_>>().join(", ")
    };
    let mapping: Vec<String> = file["mapping"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, header)| match header.as_str() {
            Some(header) if header != field => format!("{field} from `{}`", terminal::part(header)),
            _ => field.clone(),
        })
        .collect();
    lines.push(format!("  fields: {}", mapping.join(", ")));
    for (pointer, what) in [("/columns/ignored", "ignored columns"), ("/columns/missing", "missing fields")] {
        let names = names(pointer);
        if !names.is_empty() {
            lines.push(format!("  {what}: {names}"));
        }
    }
    for reject in file["rejects"].as_array().into_iter().flatten().take(SHOWN_REJECTS) {
        let (line, reason, detail) =
            (number(reject, "/line"), shown(reject, "/reason"), shown(reject, "/detail"));
        lines.push(format!("  line {line} rejected: {reason}, {detail}"));
    }
    lines.extend(findings::of_file(file));
}

/// ` --map 'code=Voucher'`, as a shell takes it.
pub(crate) fn map_options<'a>(mapping: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    mapping
        .map(|(field, header)| format!(" --map '{}'", format!("{field}={header}").replace('\'', "'\\''")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_mapping_can_be_pasted() {
        let mapping = [("code", "Voucher"), ("points", "Vou'cher")];
        assert_eq!(map_options(mapping.into_iter()), r" --map 'code=Voucher' --map 'points=Vou'\''cher'");
    }
}
