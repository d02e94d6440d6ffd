//! Words for warnings and rejects: what an operator should look at before they approve.

use crate::terminal;
use crate::words::{count, files, last_segment, number, shown, text};
use serde_json::Value;

/// What a warning means.
fn explain(reason: &str) -> &'static str {
    match reason {
        "absent_columns" => "fields without a column; they stay empty",
        "end_of_data_mark" => "the last line is psql's end of data, taken as a code",
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
        "unstored_columns" => "fields that the table of codes has no column for; they are not stored",
        "window_reversed" => "windows that end before they begin",
        _ => "worth a look",
    }
}

fn members<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of[name].as_array().into_iter().flatten()
}

/// The warnings of an import, each with the first place.
pub(crate) fn of_import(job: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for warning in members(job, "warnings") {
        let reason = text(warning, "/reason");
        let name = shown(warning, "/first/file");
        lines.push(format!(
            "  {:<24}{:>15}  in {}: {}",
            shown(warning, "/reason"),
            count(number(warning, "/count")),
            files(number(warning, "/files")),
            explain(reason)
        ));
        lines.push(format!(
            "    first in {}, line {}: {}",
            last_segment(&name),
            number(warning, "/first/line"),
            shown(warning, "/first/sample")
        ));
    }
    if !lines.is_empty() {
        lines.insert(0, "Warnings: taken as they are, so look at them before you approve".to_owned());
    }
    lines
}

/// The warnings of one file, but for those of columns, which are listed with the columns.
pub(crate) fn of_file(file: &Value) -> Vec<String> {
    let of_columns = |warning: &&Value| text(warning, "/reason").ends_with("_columns");
    let warnings = members(file, "warnings").filter(|warning| !of_columns(warning));
    let describe = |warning: &Value| {
        format!(
            "  line {} warning: {} ({}), {}: {}",
            number(warning, "/line"),
            shown(warning, "/reason"),
            count(number(warning, "/count")),
            explain(text(warning, "/reason")),
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
