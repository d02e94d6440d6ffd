//! The SQL of an adoption. Names come quoted from the catalog; an expression comes from the person who adopts, who may migrate.

use super::Table;

/// The columns of `onceload.codes` with their types, in the order of the baseline. A test compares them.
pub const COLUMNS: [(&str, &str); 17] = [
    ("merchant_id", "uuid"),
    ("import_job_id", "uuid"),
    ("created_at", "timestamptz"),
    ("window_start", "timestamptz"),
    ("window_end", "timestamptz"),
    ("points", "integer"),
    ("activated", "boolean"),
    ("deactivated", "boolean"),
    ("claimed", "boolean"),
    ("code", "text"),
    ("serial", "text"),
    ("sku", "text"),
    ("sku_name", "text"),
    ("batch_code", "text"),
    ("price", "numeric(12, 2)"),
    ("claimed_customer_id", "text"),
    ("source", "text"),
];

/// The column that is added where the table has none.
pub const JOB_COLUMN: &str = "import_job_id";
/// The index that finds a merchant's code.
pub const CODE_INDEX: &str = "onceload_merchant_id_code_key";
/// The index that finds an import's codes.
pub const JOB_INDEX: &str = "onceload_import_job_id_idx";

/// A column of the view: the name in `onceload.codes`, what stands for it, and a default that takes the place of NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewColumn {
    /// Its name in `onceload.codes`.
    pub name: &'static str,
    /// A bare column of the table, which an insert then fills, or any other expression.
    pub expression: String,
    /// Its default, as SQL.
    pub default: Option<String>,
}

/// Adds the column for the import's id.
pub fn add_job_column(table: &Table) -> String {
    format!("ALTER TABLE {} ADD COLUMN {JOB_COLUMN} uuid", table.name)
}

/// The unique index on (merchant, code), compared by bytes, as chunks are.
pub fn create_code_index(table: &Table, merchant: &str, code: &str) -> String {
    format!(
        "CREATE UNIQUE INDEX CONCURRENTLY {CODE_INDEX} ON {} ({merchant}, {code} COLLATE \"C\")",
        table.name
    )
}

/// The index on the import's id. Rows that no import of ours inserted are not in it.
pub fn create_job_index(table: &Table, job: &str) -> String {
    format!("CREATE INDEX CONCURRENTLY {JOB_INDEX} ON {} ({job}) WHERE {job} IS NOT NULL", table.name)
}

/// Drops an index of the table without stopping its readers. `index`: quoted, with its schema.
pub fn drop_index(index: &str) -> String {
    format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")
}

/// What our role needs that it lacks.
pub fn grants(table: &Table) -> Vec<String> {
    let Table { name, schema, role, has_schema, lacks, .. } = table;
    let schema_grant = (!has_schema).then(|| format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
    let table_grant = (!lacks.is_empty()).then(|| format!("GRANT {} ON {name} TO {role}", lacks.join(", ")));
    schema_grant.into_iter().chain(table_grant).collect()
}

/// The view. It lists `ctid` first, so that a part of the heap can be deleted through it.
fn create_view(table: &Table, columns: &[ViewColumn]) -> Vec<String> {
    let list: Vec<String> = columns.iter().map(|it| format!("{} AS {}", it.expression, it.name)).collect();
    let view = format!("CREATE VIEW onceload.codes AS SELECT ctid, {} FROM {}", list.join(", "), table.name);
    let defaults = columns.iter().filter_map(|it| it.default.as_ref().map(|default| (it.name, default)));
    let alter =
        |(name, default)| format!("ALTER VIEW onceload.codes ALTER COLUMN {name} SET DEFAULT {default}");
    [view].into_iter().chain(defaults.map(alter)).collect()
}

/// What the view is made from: its comment, by which a later adoption knows it again.
pub fn describe_view(table: &Table, columns: &[ViewColumn]) -> String {
    create_view(table, columns).join("; ")
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The one transaction that puts the view in the place of what `onceload.codes` is now. Imports that were checked against that are
/// checked again: each merchant's epoch rises.
pub fn swap(table: &Table, columns: &[ViewColumn], is_view: bool) -> Vec<String> {
    let kind = if is_view { "VIEW" } else { "TABLE" };
    let mut sql = vec!["LOCK TABLE onceload.codes IN ACCESS EXCLUSIVE MODE".to_owned()];
    if !is_view {
        sql.push(
            "DO $$ BEGIN IF EXISTS (SELECT FROM onceload.codes) THEN RAISE 'onceload.codes is not empty' USING ERRCODE = 'object_not_in_prerequisite_state'; END IF; END $$"
                .to_owned(),
        );
    }
    sql.push(format!(
        "CREATE OR REPLACE FUNCTION onceload.codes_table() RETURNS regclass LANGUAGE sql STABLE PARALLEL SAFE RETURN {}::regclass",
        quote(&table.name)
    ));
    sql.push(format!("DROP {kind} onceload.codes"));
    sql.append(&mut create_view(table, columns));
    sql.push(format!("COMMENT ON VIEW onceload.codes IS {}", quote(&describe_view(table, columns))));
    sql.push("UPDATE onceload.merchants SET codes_epoch = codes_epoch + 1".to_owned());
    sql
}
