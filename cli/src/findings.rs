//! Words for warnings and rejects: what an operator should look at before they approve.

use crate::terminal;
use crate::words::{count, files, last_segment, number, shown, text};
use serde_json::Value;

/// What a warning means.
fn explain(reason: &str) -> &'static str {
    match reason {
        "absent_columns" => "fields without a column; they stay empty",
        "end_of_data_mark" => "the last line is psql's end of data, taken as a code",
        "foreign_key" => "looked up for every code; one that is not there fails the whole insert",
        "ignored_columns" => "columns that are not imported",
        "last_line_unfinished" => "the last line has no end; the file may have been cut off",
        "look_alike" => {
            "codes that look like others: invisible characters, accents in two pieces, Cyrillic or Greek letters"
        }
        "multi_line_text" => "texts of several lines; a quote may be in the wrong place",
        "negative_points" => "points below 0",
        "negative_price" => "prices below 0",
        "null_like_code" => "codes that stand for a missing value",
        "repeated_header" => "the header again, taken as a code",
        "scientific_code" => "codes that a spreadsheet has rounded",
        "short_records" => {
            "records with fewer fields than the header: footers, comments and cut lines are taken as codes"
        }
        "trigger" => "they take part in the insert, and can fail it as a whole",
        "unstored_columns" => "fields that the table of codes has no column for; they are not stored",
        "window_reversed" => "windows that end before they begin",
        _ => "worth a look",
    }
}

/// Whether a warning is about the table of codes, not about what a file holds.
fn is_of_table(reason: &str) -> bool {
    matches!(reason, "foreign_key" | "trigger")
}

fn members<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of[name].as_array().into_iter().flatten()
}

/// The warnings of an import, each with the first place.
pub(crate) fn of_import(job: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for warning in members(job, "warnings") {
        let reason = text(warning, "/reason");
        let (name, sample) = (shown(warning, "/first/file"), shown(warning, "/first/sample"));
        let of_table = is_of_table(reason);
        let place = if of_table {
            "on the table of codes".to_owned()
        } else {
            format!("in {}", files(number(warning, "/files")))
        };
        lines.push(format!(
            "  {:<24}{:>15}  {place}: {}",
            shown(warning, "/reason"),
            count(number(warning, "/count")),
            explain(reason)
        ));
        if of_table {
            lines.push(format!("    {sample}"));
            continue;
        }
        lines.push(format!(
            "    first in {}, line {}: {sample}",
            last_segment(&name),
            number(warning, "/first/line")
        ));
    }
    if !lines.is_empty() {
        lines.insert(0, "Warnings: taken as they are, so look at them before you approve".to_owned());
    }
    lines
}

/// The warnings of one file, but for those of columns that are listed by name elsewhere.
pub(crate) fn of_file(file: &Value) -> Vec<String> {
    let of_columns =
        |warning: &&Value| matches!(text(warning, "/reason"), "absent_columns" | "ignored_columns");
    let warnings = members(file, "warnings").filter(|warning| !of_columns(warning));
    let describe = |warning: &Value| {
        let reason = text(warning, "/reason");
        let place = match is_of_table(reason) {
            true => "table of codes".to_owned(),
            false => format!("line {}", number(warning, "/line")),
        };
        format!(
            "  {place} warning: {} ({}), {}: {}",
            shown(warning, "/reason"),
            count(number(warning, "/count")),
            explain(reason),
            shown(warning, "/sample")
        )
    };
    warnings.map(describe).collect()
}

/// `invalid_points 2, too_long 1`
pub(crate) fn rejects_by_reason(of: &Value) -> String {
    let reasons = of["rejected_by_reason"].as_object().into_iter().flatten();
    let counts: Vec<String> = reasons
        .map(|(reason, rejects)| {
            format!("{} {}", terminal::part(reason), count(rejects.as_i64().unwrap_or_default()))
        })
        .collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_warning_says_what_it_means_and_where_it_is_seen_first() {
        let job = json!({ "warnings": [{ "reason": "scientific_code", "count": 1200, "files": 2,
            "first": { "file": "uploads/m/b/a\u{1b}.csv", "line": 7, "sample": "1.2E+12" } }] });
        let lines = of_import(&job).join("\n");
        assert!(lines.contains("1,200  in 2 files: codes that a spreadsheet has rounded"), "{lines}");
        assert!(lines.contains("first in a\\u{1b}.csv, line 7: 1.2E+12"), "{lines}");
        let job = json!({ "warnings": [{ "reason": "trigger", "count": 2, "files": 3,
            "first": { "file": "a.csv", "line": 1, "sample": "audit, notify" } }] });
        let lines = of_import(&job).join("\n");
        assert!(
            lines.contains("2  on the table of codes: they take part")
                && lines.ends_with("\n    audit, notify"),
            "{lines}"
        );
        assert_eq!(of_import(&json!({ "warnings": [] })), Vec::<String>::new());
        let file = json!({ "warnings": [{ "reason": "ignored_columns", "count": 1, "line": 1, "sample": "x" },
            { "reason": "short_records", "count": 1, "line": 3, "sample": "TOTAL" }] });
        assert_eq!(of_file(&file).len(), 1);
        assert_eq!(
            rejects_by_reason(&json!({ "rejected_by_reason": { "empty_code": 1, "too_long": 2000 } })),
            "empty_code 1, too_long 2,000"
        );
    }
}
