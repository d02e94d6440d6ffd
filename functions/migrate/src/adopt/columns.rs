//! Which column of the application's table stands for which of ours.

use super::request::{Finding, Reason};
use shared::db::adoption::ddl::{COLUMNS, JOB_COLUMN, ViewColumn};
use shared::db::adoption::{Column, Table, check_expression};
use shared::db::{DbResult, Session};
use std::collections::BTreeMap;

/// What our columns are in the application's table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapped {
    /// The view's columns, in our order.
    pub(crate) view: Vec<ViewColumn>,
    /// The table's column of the merchant.
    pub(crate) merchant: Option<Column>,
    /// The table's column of the code.
    pub(crate) code: Option<Column>,
    /// The table's column of the import; `None`: it has to be added.
    pub(crate) job: Option<Column>,
    /// Columns of the table that every insert fills, not quoted.
    pub(crate) filled: Vec<String>,
    pub(crate) problems: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
}

/// What stands for one of our columns.
enum Source<'a> {
    Column(&'a Column),
    Expression(&'a str),
    Nothing,
}

/// How an import uses a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Fills it in every row.
    Always,
    /// Fills it from the files.
    FromFiles,
    /// Never fills it.
    Reads,
}

fn use_of(name: &str) -> Use {
    match name {
        "merchant_id" | "import_job_id" | "code" => Use::Always,
        "created_at" | "activated" | "deactivated" | "claimed" | "claimed_customer_id" => Use::Reads,
        _ => Use::FromFiles,
    }
}

/// Maps each of our columns.
pub(crate) async fn map(
    on: &dyn Session,
    table: &Table,
    wanted: &BTreeMap<String, String>,
) -> DbResult<Mapped> {
    let mut mapped = Mapped::default();
    for name in wanted.keys().filter(|name| COLUMNS.iter().all(|(ours, _)| ours != name)) {
        let known: Vec<&str> = COLUMNS.iter().map(|(ours, _)| *ours).collect();
        mapped.problems.push(Finding::new(
            Reason::NotFound,
            name,
            format!("`columns` names `{name}`, which onceload.codes does not have"),
            format!("Name columns of onceload.codes only: {}.", known.join(", ")),
        ));
    }
    for (name, wanted_type) in COLUMNS {
        let source = match wanted.get(name) {
            Some(text) => table.column(text.trim()).map_or(Source::Expression(text), Source::Column),
            None => table.column(name).map_or(Source::Nothing, Source::Column),
        };
        match source {
            Source::Column(column) => mapped.take_column(table, name, wanted_type, column),
            Source::Expression(text) => {
                mapped.take_expression(on, table, (name, wanted_type), text).await?;
            }
            Source::Nothing => mapped.take_nothing(table, name, wanted_type),
        }
    }
    Ok(mapped)
}

impl Mapped {
    fn show(&mut self, name: &'static str, expression: String, default: Option<String>) {
        self.view.push(ViewColumn { name, expression, default });
    }

    fn take_column(&mut self, table: &Table, name: &'static str, wanted_type: &str, column: &Column) {
        let object = format!("{}.{}", table.name, column.quoted);
        let bare = column.quoted.clone();
        match (name, use_of(name)) {
            ("merchant_id", _) => {
                if column.base_type != "uuid" {
                    let detail = format!("the merchant is {}, not uuid", column.full_type);
                    self.problems.push(Finding::new(Reason::MerchantType, object, detail, MERCHANT_ADVICE));
                }
                self.merchant = Some(column.clone());
                self.fill(name, column);
            }
            ("code", _) => {
                if let Some(detail) = refuse_code(column) {
                    let advice = format!(
                        "Make it text or varchar(255) with a deterministic collation: ALTER TABLE {} ALTER COLUMN {} TYPE text.",
                        table.name, column.quoted
                    );
                    self.problems.push(Finding::new(Reason::CodeType, object, detail, advice));
                }
                self.code = Some(column.clone());
                self.fill(name, column);
            }
            ("import_job_id", _) => {
                if column.base_type != "uuid" || column.is_generated || column.is_identity {
                    let detail = format!("the import's id is {}, not a plain uuid", column.full_type);
                    let advice = "Rename it, so that the adoption can add its own column, or map import_job_id to another.";
                    self.problems.push(Finding::new(Reason::NotUpdatable, object, detail, advice));
                }
                self.job = Some(column.clone());
                self.fill(name, column);
            }
            (_, Use::FromFiles) => match refuse_field(wanted_type, column) {
                None => self.fill(name, column),
                Some(why) => {
                    self.show(name, format!("({bare})::{wanted_type}"), None);
                    let advice = "Change its type to have the field stored, or leave it as it is.";
                    self.miss(name, object, format!("{why}, so imports do not fill it"), advice);
                }
            },
            _ if is_same_type(wanted_type, column) => self.show(name, bare, None),
            _ => self.show(name, format!("({bare})::{wanted_type}"), None),
        }
    }

    /// A bare column, which every insert fills.
    fn fill(&mut self, name: &'static str, column: &Column) {
        self.filled.push(column.name.clone());
        // The files may have no value for it.
        let default = column.default.clone().filter(|_| column.is_not_null && use_of(name) == Use::FromFiles);
        self.show(name, column.quoted.clone(), default);
    }

    async fn take_expression(
        &mut self,
        on: &dyn Session,
        table: &Table,
        (name, wanted_type): (&'static str, &str),
        text: &str,
    ) -> DbResult<()> {
        let expression = format!("(\n{text}\n)::{wanted_type}");
        if let Err(why) = check_expression(on, table, &expression).await? {
            self.problems.push(Finding::new(
                Reason::NotFound,
                format!("{}.{name}", table.name),
                format!("`{text}` is neither a column nor an expression of type {wanted_type}: {why}"),
                "Name a column of the table, or write an SQL expression over its columns.",
            ));
        }
        if use_of(name) == Use::Always {
            let detail = format!("{name} is an expression, `{text}`, which can't be inserted");
            let advice = format!("Map {name} to a column.");
            self.problems.push(Finding::new(Reason::NotUpdatable, &table.name, detail, advice));
        } else if use_of(name) == Use::FromFiles {
            let detail = format!("{name} is an expression, so imports do not store it");
            self.miss(
                name,
                format!("{}.{name}", table.name),
                detail,
                "Map it to a column to have it stored.",
            );
        }
        self.show(name, expression, None);
        Ok(())
    }

    fn take_nothing(&mut self, table: &Table, name: &'static str, wanted_type: &str) {
        let object = format!("{}.{name}", table.name);
        let missing = format!("{} has no column {name}, and `columns` maps none to it", table.name);
        match name {
            JOB_COLUMN => {
                self.filled.push(JOB_COLUMN.to_owned());
                self.show(name, JOB_COLUMN.to_owned(), None);
            }
            "merchant_id" => {
                self.problems.push(Finding::new(Reason::MerchantType, object, missing, MERCHANT_ADVICE));
            }
            "code" => {
                let advice = "Map it: \"columns\": {\"code\": \"<column>\"}.";
                self.problems.push(Finding::new(Reason::NotFound, object, missing, advice));
            }
            // A rollback must know whom it would take a code from.
            "claimed" => {
                let advice = "Map it to a column or an expression, such as \"redeemed_at IS NOT NULL\"; \"false\" if codes are never claimed.";
                self.problems.push(Finding::new(Reason::NotFound, object, missing, advice));
            }
            _ => {
                self.show(name, format!("NULL::{wanted_type}"), None);
                if use_of(name) == Use::FromFiles {
                    self.miss(
                        name,
                        object,
                        format!("{missing}, so imports do not store it"),
                        "Add the column, or map one, to have it stored.",
                    );
                }
            }
        }
    }

    fn miss(&mut self, name: &str, object: String, detail: String, advice: &str) {
        // Nobody misses where a code came from.
        if name != "source" {
            self.warnings.push(Finding::new(Reason::MissingColumn, object, detail, advice));
        }
    }
}

const MERCHANT_ADVICE: &str =
    "Every code belongs to a merchant, by uuid: add such a column, fill it, and map merchant_id to it.";

/// Why codes can't be kept in this column.
fn refuse_code(column: &Column) -> Option<String> {
    let kind = &column.full_type;
    if column.is_domain || !matches!(column.base_type.as_str(), "text" | "varchar") {
        return Some(format!("the code is {kind}, which does not compare codes byte by byte"));
    }
    if column.modifier.is_some_and(|length| length < 255) {
        return Some(format!("the code is {kind}, and a code of a file may have 255 bytes"));
    }
    (!column.is_deterministic)
        .then(|| "the code's collation calls different codes equal: it is not deterministic".to_owned())
}

/// Why a field of the files can't be stored in this column.
fn refuse_field(wanted_type: &str, column: &Column) -> Option<String> {
    let kind = &column.full_type;
    if column.is_generated || column.is_identity {
        return Some(format!("{} is generated", column.quoted));
    }
    if column.is_domain {
        return Some(format!("{} is of the domain {kind}, whose rules a file may break", column.quoted));
    }
    let holds = match (wanted_type, column.base_type.as_str()) {
        ("text", "text") | ("timestamptz", "timestamptz") | ("integer", "int4" | "int8") => true,
        ("text", "varchar") => column.modifier.is_none_or(|length| length >= 255),
        ("numeric(12, 2)" | "integer", "numeric") => column.modifier.is_none_or(|modifier| {
            let (precision, scale) = (modifier >> 16, modifier & 0x7ff);
            precision - scale >= 10 && (scale >= 2 || wanted_type == "integer")
        }),
        _ => false,
    };
    (!holds).then(|| format!("{} is {kind}, which does not hold every {wanted_type}", column.quoted))
}

fn is_same_type(wanted_type: &str, column: &Column) -> bool {
    matches!(
        (wanted_type, column.base_type.as_str()),
        ("text", "text" | "varchar") | ("boolean", "bool") | ("timestamptz", "timestamptz")
    ) && !column.is_domain
}
