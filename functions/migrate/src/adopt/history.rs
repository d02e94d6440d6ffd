//! The imports that the application's scripts made: which of them come along.

use super::find_table;
use super::request::{Finding, Reason, Request};
use shared::db::adoption::history::{Content, find_content, list_missing, take};
use shared::db::adoption::{Column, Table};
use shared::db::{DbResult, Session};

/// The table of imports, where nobody names another: in the schema of the adopted table.
const NAME: &str = "codes_import_jobs";
/// The table that they come to.
const OURS: &str = "onceload.codes_import_jobs";

/// What was found, and the SQL that takes what is left.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) problems: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
    pub(crate) sql: Vec<String>,
}

impl History {
    /// A table that was asked for must be of use; one that was merely found need not be.
    fn refuse(mut self, asked: bool, finding: Finding) -> Self {
        match asked {
            true => self.problems.push(finding),
            false => self.warnings.push(Finding { reason: Reason::History, ..finding }),
        }
        self
    }
}

/// Looks at the table of imports. `job`: the adopted table's column of the import, if it has one.
pub(crate) async fn look(
    on: &dyn Session,
    request: &Request,
    codes: &Table,
    job: Option<&Column>,
) -> DbResult<History> {
    let asked = request.history.is_some();
    let name = request.history.clone().unwrap_or_else(|| format!("{}.{NAME}", codes.schema));
    let history = History::default();
    let table = match find_table(on, &name).await? {
        Some(table) if table.name != OURS => table,
        None | Some(_) if !asked => return Ok(history),
        found => {
            let detail = match found {
                Some(_) => format!("{OURS} is where the imports go"),
                None => format!("there is no table {name}"),
            };
            let advice = "Name the table of imports with its schema, or leave `history` out.";
            return Ok(history.refuse(asked, Finding::new(Reason::NotFound, name, detail, advice)));
        }
    };
    if let Some(finding) = judge_table(&table) {
        return Ok(history.refuse(asked, finding));
    }
    let job = job.filter(|column| column.base_type == "uuid").map(|column| column.quoted.as_str());
    let content = find_content(on, &table, codes, job).await?;
    if let Some(finding) = judge_content(&table, codes, job, &content) {
        return Ok(history.refuse(asked, finding));
    }
    let sql = if content.imports > 0 { take(&table) } else { Vec::new() };
    Ok(History { warnings: warn(&table, &content), sql, ..history })
}

/// Why the table can't be read as one of imports.
fn judge_table(table: &Table) -> Option<Finding> {
    let Table { name, schema, role, has_schema, lacks, .. } = table;
    if !has_schema || lacks.iter().any(|right| right == "SELECT") {
        let detail = format!("{role} may not read {name}");
        let advice = format!(
            "Let its owner run: GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {name} TO {role}."
        );
        return Some(Finding::new(Reason::NotOwner, name, detail, advice));
    }
    let missing = list_missing(table);
    (!missing.is_empty()).then(|| {
        let detail = format!("as a table of imports it lacks {}", missing.join(", "));
        let advice = "Name in `history` a table or a view that has those columns, such as SELECT owner AS merchant_id, ....";
        Finding::new(Reason::NotFound, name, detail, advice)
    })
}

/// Why its imports would be empty shells: no code says that it came from one of them.
fn judge_content(table: &Table, codes: &Table, job: Option<&str>, content: &Content) -> Option<Finding> {
    let detail = match job {
        None => format!("{} has no column with the import's uuid", codes.name),
        Some(job) if content.imports > 0 && !content.is_of_codes => {
            format!("no code of {} has the id of one of its {} imports in {job}", codes.name, content.imports)
        }
        Some(_) => return None,
    };
    let detail = format!("{detail}, so they can't be verified or rolled back, and are not taken");
    let advice = "Map import_job_id to the column that has the id of the import, or leave `history` out: the table stays as it is.";
    Some(Finding::new(Reason::History, &table.name, detail, advice))
}

/// What is not taken, and what is made beside.
fn warn(table: &Table, content: &Content) -> Vec<Finding> {
    let mut warnings = Vec::new();
    if !content.left_out.is_empty() {
        let detail = format!("imports are left out: {}", content.left_out.join(", "));
        let advice = "Only what is completed or rolled back is taken. Call again once others are.";
        warnings.push(Finding::new(Reason::History, &table.name, detail, advice));
    }
    if content.new_merchants > 0 {
        let Content { new_merchants, merchant_examples, .. } = content;
        let detail = format!(
            "{new_merchants} merchants of its imports are not provisioned, such as {}: they get their id as their name",
            merchant_examples.join(", ")
        );
        let advice = "Nobody sees their imports before they have members: docs/DATA_MODEL.md, \"For people\". UPDATE onceload.merchants to name them.";
        warnings.push(Finding::new(Reason::History, "onceload.merchants", detail, advice));
    }
    warnings
}
