//! What speaks against an adoption, and what an import will do in the table.

use super::columns::Mapped;
use super::request::{Finding, Reason};
use shared::db::adoption::ddl::{CODE_INDEX, JOB_INDEX};
use shared::db::adoption::{Column, Content, Current, Index, Table};

/// What the table's own nature, and what stands in its place now, speak against.
pub(crate) fn judge_table(table: &Table, current: &Current) -> Vec<Finding> {
    let mut problems = Vec::new();
    let name = &table.name;
    if current.is_view && current.table_oid != table.oid {
        let detail = format!("onceload.codes is a view of {} already", current.table);
        let advice = "One database holds the codes of one application. Go back as docs/ADOPTING.md says, or use another database.";
        problems.push(Finding::new(Reason::CodesNotEmpty, "onceload.codes", detail, advice));
    } else if !current.is_view && current.has_codes {
        let detail = "onceload.codes has codes of its own, which the view would hide";
        let advice = "Roll their imports back, or move them to the table and empty onceload.codes.";
        problems.push(Finding::new(Reason::CodesNotEmpty, "onceload.codes", detail, advice));
    }
    if table.kind == "p" || table.is_divided {
        let detail =
            format!("{name} is partitioned, a partition, or has children: no index is unique over all of it");
        let advice = "Keep the codes in one plain table, or import into onceload.codes and read from it.";
        problems.push(Finding::new(Reason::Partitioned, name, detail, advice));
    } else if table.kind != "r" || !table.is_logged || table.has_rules {
        let detail = match table.kind.as_str() {
            "v" | "m" => format!("{name} is a view"),
            "f" => format!("{name} is a foreign table"),
            "r" if table.has_rules => format!("{name} has rules, which rewrite an insert"),
            "r" => format!("{name} is unlogged or temporary: a crash of the server empties it"),
            _ => format!("{name} is no table"),
        };
        let advice = "Name the plain, logged table that holds the codes.";
        problems.push(Finding::new(Reason::NotUpdatable, name, detail, advice));
    }
    problems
}

/// What the indexes and the columns that no import fills speak against.
pub(crate) fn judge_rows(table: &Table, mapped: &Mapped) -> Vec<Finding> {
    let mut problems = Vec::new();
    for index in table.indexes.iter().filter(|index| !index.is_valid) {
        let (detail, advice) = if index.is_being_built {
            ("it is being built now".to_owned(), "Wait for its end.".to_owned())
        } else {
            let detail = "its build did not end: it costs every insert and serves no query".to_owned();
            (detail, format!("DROP INDEX CONCURRENTLY {};", index.name))
        };
        problems.push(Finding::new(Reason::IndexInvalid, &index.name, detail, advice));
    }
    for index in table.indexes.iter().filter(|index| index.is_valid && refuses_codes(index, table, mapped)) {
        let keys: Vec<&str> =
            index.keys.iter().map(|key| if key.is_empty() { "an expression" } else { key }).collect();
        let detail = format!(
            "it is unique over {}: a code that meets it would be taken for one that came in between",
            keys.join(", ")
        );
        let advice = "Make it unique per merchant and code, or not unique.";
        problems.push(Finding::new(Reason::OtherUnique, &index.name, detail, advice));
    }
    for column in &table.columns {
        let has_value = column.default.is_some() || column.is_identity || column.is_generated;
        let always = [mapped.merchant.as_ref(), mapped.code.as_ref(), mapped.job.as_ref()];
        let is_always = always.into_iter().flatten().any(|it| it.name == column.name);
        if column.is_not_null && !has_value && !is_always {
            let filled = mapped.filled.contains(&column.name);
            let detail = if filled {
                "it refuses NULL, and files may leave it empty"
            } else {
                "it refuses NULL, has no default, and no import fills it"
            };
            let advice = format!(
                "Give it a default, or let it be NULL: ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL.",
                table.name, column.quoted
            );
            problems.push(Finding::new(
                Reason::NotNullColumn,
                format!("{}.{}", table.name, column.quoted),
                detail,
                advice,
            ));
        }
    }
    problems
}

/// A unique index that may refuse a row that is no duplicate of a code of its merchant.
fn refuses_codes(index: &Index, table: &Table, mapped: &Mapped) -> bool {
    if !index.is_unique && !index.is_exclusion {
        return false;
    }
    let has = |key: &Option<Column>| key.as_ref().is_some_and(|column| index.keys.contains(&column.name));
    if !index.is_exclusion && has(&mapped.merchant) && has(&mapped.code) {
        return false;
    }
    // A key that no import fills differs in every row, or is NULL.
    let differs = |key: &String| {
        !key.is_empty()
            && !mapped.filled.contains(key)
            && table
                .column(key)
                .is_some_and(|it| it.default.is_some() || it.is_identity || !index.nulls_collide)
    };
    index.is_exclusion || !index.keys.iter().any(differs)
}

/// What the codes that are there speak against.
pub(crate) fn judge_content(table: &Table, code: &str, content: &Content) -> Vec<Finding> {
    let object = format!("{}.{code}", table.name);
    let mut problems = Vec::new();
    if content.nulls + content.wrong_length + content.padded > 0 {
        let Content { nulls, wrong_length, padded, examples, .. } = content;
        let detail = format!(
            "{nulls} rows have no code or no merchant, {wrong_length} codes are empty or over 255 bytes, {padded} begin or end with white space, such as {examples:?}"
        );
        let advice = "Correct or remove them: an import would not find them.";
        problems.push(Finding::new(Reason::CodeType, &object, detail, advice));
    }
    if content.repeated > 0 {
        let detail = format!(
            "{} codes are there more than once for their merchant, such as {:?}",
            content.repeated, content.repeated_examples
        );
        let advice = "Keep one row of each: the unique index needs it.";
        problems.push(Finding::new(Reason::Duplicates, object, detail, advice));
    }
    problems
}

/// What our role may not do. `needs_owner`: statements are left that only the owner may run.
pub(crate) fn judge_rights(table: &Table, needs_owner: bool) -> Option<Finding> {
    let lacks = !table.has_schema || !table.lacks.is_empty();
    (!table.is_owned && (needs_owner || lacks)).then(|| {
        let detail =
            format!("{} belongs to {}, and {} is not a member of it", table.name, table.owner, table.role);
        let advice =
            format!("Let {} run the statements up to the first BEGIN, then apply again.", table.owner);
        Finding::new(Reason::NotOwner, &table.name, detail, advice)
    })
}

/// Rows that reference codes and that our role may not see.
pub(crate) fn judge_references(table: &Table, missing: &[String]) -> Option<Finding> {
    (!missing.is_empty()).then(|| {
        let detail = format!(
            "{} may not read every row that references its codes, so no rollback could tell which",
            table.role
        );
        let advice = format!("Let their owner run: {}.", missing.join("; "));
        Finding::new(Reason::NotOwner, &table.name, detail, advice)
    })
}

/// An index of ours that would take longer than this call has left.
pub(crate) fn judge_time(table: &Table, indexes: usize, seconds_left: u64) -> Option<Finding> {
    /// Rows a second of CREATE INDEX CONCURRENTLY, assumed low: an index that is begun here must also end here.
    const PACE: u64 = 100_000;
    let seconds = table.rows.unsigned_abs() / PACE * indexes as u64;
    (seconds > seconds_left).then(|| {
        let detail = format!(
            "about {} rows take about {} minutes to index, more than this function has",
            table.rows,
            seconds / 60 + 1
        );
        let advice = "Run the CREATE INDEX statements by psql, then apply again.";
        Finding::new(Reason::IndexInvalid, format!("{CODE_INDEX}, {JOB_INDEX}"), detail, advice)
    })
}

/// What an import will do in the table, and what will be done to it.
pub(crate) fn warn(table: &Table) -> Vec<Finding> {
    let mut warnings = Vec::new();
    for part in &table.parts {
        let (reason, advice) = match part.reason.as_str() {
            "foreign_key" => (
                Reason::ForeignKey,
                "It is looked up for every inserted row; a row that breaks it fails the whole insert.",
            ),
            "reference" => (Reason::ForeignKey, "A rollback never deletes a code that it references."),
            "delete_trigger" => (Reason::Trigger, "It has a part in every rollback."),
            "check" => (Reason::Trigger, "A row that breaks it fails the whole insert."),
            _ => (
                Reason::Trigger,
                "It has a part in every insert of millions of rows: see that it is quick, and inserts each row unchanged.",
            ),
        };
        warnings.push(Finding::new(reason, &part.name, &part.definition, advice));
    }
    if table.has_row_security {
        let detail = format!("policies bind {}", table.role);
        let advice = "Give it a policy that lets it read and write every row, or BYPASSRLS: a row that it can't see is no duplicate to it.";
        warnings.push(Finding::new(Reason::RowSecurity, &table.name, detail, advice));
    }
    if !table.is_owned {
        let detail = format!("{} may not VACUUM {}", table.role, table.name);
        let advice =
            "Let autovacuum work on it soon after inserts (autovacuum_vacuum_insert_scale_factor = 0.02).";
        warnings.push(Finding::new(Reason::Vacuum, &table.name, detail, advice));
    }
    warnings
}
