//! Adopting an application's own table of codes: what is known about it, and the SQL that makes `onceload.codes` a view of it.

pub mod ddl;
pub mod history;
pub mod run;

use super::connection::Session;
use super::error::{DbError, DbResult};
use super::statement::{Composed, statements};
use crate::domain::field::Field;
use crate::domain::layout::Destination;
use serde::Deserialize;
use serde_json::Value;
use tokio_postgres::Row;

statements! {
    "adoption":
    CURRENT = "current";
    FILLABLE = "fillable";
    PARTS = "parts";
    PROGRESS = "progress";
    TABLE = "table";
}

/// An application's table, as the catalog describes it. Names are quoted where SQL needs it, unless it is said otherwise.
#[derive(Debug, Clone, Deserialize)]
pub struct Table {
    /// Its object id.
    pub oid: i64,
    /// With its schema.
    pub name: String,
    /// Its schema.
    pub schema: String,
    /// `pg_class.relkind`.
    pub kind: String,
    /// Neither unlogged nor temporary.
    pub is_logged: bool,
    /// Rules rewrite what is done to it.
    pub has_rules: bool,
    /// It is partitioned, a partition, or has children.
    pub is_divided: bool,
    /// Its owner.
    pub owner: String,
    /// Our role may do what its owner may.
    pub is_owned: bool,
    /// Our role.
    pub role: String,
    /// Policies bind our role.
    pub has_row_security: bool,
    /// Our role may use the schema.
    pub has_schema: bool,
    /// Privileges that our role lacks, of SELECT, INSERT, UPDATE and DELETE.
    pub lacks: Vec<String>,
    /// Rows, as the last ANALYZE estimated them.
    pub rows: i64,
    /// In their order.
    pub columns: Vec<Column>,
    /// By name.
    pub indexes: Vec<Index>,
    /// Triggers, CHECK constraints and foreign keys from and to it.
    #[serde(skip)]
    pub parts: Vec<Part>,
}

/// A column of an application's table.
#[derive(Debug, Clone, Deserialize)]
pub struct Column {
    /// As it is, not quoted.
    pub name: String,
    /// The same, quoted.
    pub quoted: String,
    /// As it is declared, such as `character varying(64)`.
    pub full_type: String,
    /// `pg_type.typname`.
    pub base_type: String,
    /// Its type is a domain.
    pub is_domain: bool,
    /// A varchar's length, or a numeric's precision << 16 | scale.
    pub modifier: Option<i32>,
    /// Its collation says that equal strings have equal bytes.
    pub is_deterministic: bool,
    /// It refuses NULL.
    pub is_not_null: bool,
    /// Its default, as SQL.
    pub default: Option<String>,
    /// GENERATED AS IDENTITY.
    pub is_identity: bool,
    /// GENERATED AS (expression).
    pub is_generated: bool,
}

/// An index of an application's table.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Such as `btree`.
    pub method: String,
    /// It refuses a second row.
    pub is_unique: bool,
    /// Its build has ended well.
    pub is_valid: bool,
    /// It belongs to an EXCLUDE constraint.
    pub is_exclusion: bool,
    /// It covers every row.
    pub is_whole: bool,
    /// NULLS NOT DISTINCT.
    pub nulls_collide: bool,
    /// Somebody builds it now.
    pub is_being_built: bool,
    /// Names of columns, not quoted; an expression has none.
    pub keys: Vec<String>,
    /// Which keys are compared by bytes.
    pub by_bytes: Vec<bool>,
}

/// What else has a part in writing to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `trigger` of an insert, `delete_trigger`, `check`, `foreign_key`, or `reference` for one of another table.
    pub reason: String,
    /// Its name.
    pub name: String,
    /// As SQL.
    pub definition: String,
}

/// What `onceload.codes` is now.
#[derive(Debug, Clone)]
pub struct Current {
    /// An adoption has made it a view.
    pub is_view: bool,
    /// The table behind it.
    pub table_oid: i64,
    /// Its name, quoted.
    pub table: String,
    /// It has rows.
    pub has_codes: bool,
    /// What the view was made from: its comment.
    pub definition: Option<String>,
}

/// Finds a table by its name, which may be quoted and must name its schema.
pub async fn find_table(on: &dyn Session, name: &str) -> DbResult<Option<Table>> {
    let Some(row) = TABLE.opt(on, &[&name]).await? else { return Ok(None) };
    let described = Table::deserialize(row.get::<_, Value>("table"));
    let mut table = described.map_err(|error| DbError::defect(TABLE.name, error.to_string()))?;
    table.parts = list_parts(on, Some(table.oid)).await?;
    Ok(Some(table))
}

impl Table {
    /// The column of this name, which is not quoted.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Reads what `onceload.codes` is now.
pub async fn find_current(on: &dyn Session) -> DbResult<Current> {
    let row = CURRENT.one(on, &[]).await?;
    Ok(Current {
        is_view: row.get("is_view"),
        table_oid: row.get("table_oid"),
        table: row.get("table_name"),
        has_codes: row.get("has_codes"),
        definition: row.get("definition"),
    })
}

/// A column of `onceload.codes` that an insert can fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fillable {
    /// Its name.
    pub name: String,
    /// What takes the place of NULL, as SQL.
    pub default: Option<String>,
}

/// The columns that an insert can fill: all of the baseline's, or those that an application's own table has.
pub async fn list_fillable(on: &dyn Session) -> DbResult<Vec<Fillable>> {
    let rows = FILLABLE.all(on, &[]).await?;
    Ok(rows.iter().map(|row| Fillable { name: row.get("name"), default: row.get("default") }).collect())
}

/// What has a part in writing to a table, or to the one that holds the codes.
async fn list_parts(on: &dyn Session, table: Option<i64>) -> DbResult<Vec<Part>> {
    let rows = PARTS.all(on, &[&table]).await?;
    let read = |row: &Row| Part {
        reason: row.get("reason"),
        name: row.get("name"),
        definition: row.get("definition"),
    };
    Ok(rows.iter().map(read).collect())
}

/// What becomes of the records of a file in production.
pub async fn find_destination(on: &dyn Session) -> DbResult<Destination> {
    let columns = list_fillable(on).await?;
    let is_stored = |field: &Field| columns.iter().any(|column| column.name == field.as_str());
    let (mut triggers, mut foreign_keys) = (Vec::new(), Vec::new());
    for part in list_parts(on, None).await? {
        match part.reason.as_str() {
            "trigger" => triggers.push(part.name),
            "foreign_key" => foreign_keys.push(part.name),
            _ => {}
        }
    }
    Ok(Destination { fields: Field::ALL.into_iter().filter(is_stored).collect(), triggers, foreign_keys })
}

/// How far an index of the table has been built, in words; `None` where none is being built.
pub async fn find_progress(on: &dyn Session, table: i64) -> DbResult<Option<String>> {
    let rows = PROGRESS.all(on, &[&table]).await?;
    Ok(rows.first().map(|row| {
        let phase: String = row.get("phase");
        match (row.get::<_, i64>("blocks_done"), row.get::<_, i64>("blocks_total")) {
            (_, 0) => phase,
            (done, total) => format!("{phase}, block {done} of {total}"),
        }
    }))
}

/// Codes that the table has and that an import could not have inserted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Rows without a code or a merchant.
    pub nulls: i64,
    /// Codes over 255 bytes, and empty ones.
    pub wrong_length: i64,
    /// Codes that begin or end with white space.
    pub padded: i64,
    /// The first and the last of those of a wrong length or padded.
    pub examples: Vec<String>,
    /// Codes that a merchant has more than once, if they were looked for.
    pub repeated: i64,
    /// Some of them.
    pub repeated_examples: Vec<String>,
}

/// Reads every row. `with_repeated`: not where a unique index says that there are none. `code` and `merchant`: quoted columns.
pub async fn check_content(
    on: &dyn Session,
    table: &Table,
    merchant: &str,
    code: &str,
    with_repeated: bool,
) -> DbResult<Content> {
    let padded = format!("{code} <> btrim({code}, E' \\t\\n\\f\\r')");
    let wrong_length = format!("octet_length({code}) NOT BETWEEN 1 AND 255");
    let found = format!("FILTER (WHERE {padded} OR {wrong_length})");
    let name = &table.name;
    let statement = Composed {
        name: "adoption.content",
        sql: format!(
            "-- adoption.content
SELECT count(*) FILTER (WHERE {code} IS NULL OR {merchant} IS NULL) AS nulls, count(*) FILTER (WHERE {wrong_length}) AS wrong_length,
       count(*) FILTER (WHERE {padded}) AS padded,
       array_remove(ARRAY[min(left({code}, 40)::text) {found}, max(left({code}, 40)::text) {found}], NULL) AS examples
  FROM {name}"
        ),
    };
    let row = statement.one(on, &[]).await?;
    let mut content = Content {
        nulls: row.get("nulls"),
        wrong_length: row.get("wrong_length"),
        padded: row.get("padded"),
        examples: row.get("examples"),
        ..Content::default()
    };
    content.examples.dedup();
    if with_repeated {
        let statement = Composed {
            name: "adoption.repeated",
            sql: format!(
                "-- adoption.repeated
WITH repeated AS MATERIALIZED (
    SELECT left({code}, 40)::text AS code, count(*) AS times FROM {name} WHERE {code} IS NOT NULL AND {merchant} IS NOT NULL
     GROUP BY {merchant}, {code} HAVING count(*) > 1
)
SELECT count(*) AS codes, ARRAY(SELECT code || ' (' || times || ' times)' FROM repeated ORDER BY times DESC, code LIMIT 3) AS examples
  FROM repeated"
            ),
        };
        let row = statement.one(on, &[]).await?;
        content.repeated = row.get("codes");
        content.repeated_examples = row.get("examples");
    }
    Ok(content)
}

/// Checks an expression over the table's columns. The inner error is what PostgreSQL has against it.
pub async fn check_expression(
    on: &dyn Session,
    table: &Table,
    expression: &str,
) -> DbResult<Result<(), String>> {
    let statement = Composed {
        name: "adoption.expression",
        // On lines of its own, in case that it ends in a comment.
        sql: format!(
            "-- adoption.expression\nSELECT FROM {} WHERE ({expression}) IS NULL LIMIT 0",
            table.name
        ),
    };
    match statement.all(on, &[]).await {
        Err(error) if error.code().is_some_and(|code| matches!(&code.code()[..2], "22" | "42")) => {
            Ok(Err(error.message().unwrap_or_default().to_owned()))
        }
        other => other.map(|_| Ok(())),
    }
}
