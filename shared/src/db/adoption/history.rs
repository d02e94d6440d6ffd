//! Imports that an application's scripts made before the adoption. Their table keeps its rows; `onceload.codes_import_jobs` gets a row of
//! each that was completed or rolled back, so that it can be shown, verified and rolled back.

use super::{Column, Table};
use crate::db::connection::Session;
use crate::db::error::DbResult;
use crate::db::statement::Composed;

/// Columns that such a table must have, and their types. Any other may be missing.
const NEEDED: [(&str, &[&str]); 3] = [("id", UUID), ("merchant_id", UUID), ("codes_inserted", NUMBERS)];
const UUID: &[&str] = &["uuid"];
const NUMBERS: &[&str] = &["int2", "int4", "int8", "numeric"];
const TIMES: &[&str] = &["timestamptz", "timestamp", "date"];

/// What an old table of imports holds that is not in `onceload.codes_import_jobs` yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Imports to take.
    pub imports: i64,
    /// Some were taken before, or a code of the adopted table has the id of one of them.
    pub is_of_codes: bool,
    /// Imports that can't be taken, by their state: `3 failed`.
    pub left_out: Vec<String>,
    /// Merchants of the imports to take that are not in `onceload.merchants`.
    pub new_merchants: i64,
    /// Some of them.
    pub merchant_examples: Vec<String>,
}

/// Columns that the table lacks, with their types in words.
pub fn list_missing(history: &Table) -> Vec<String> {
    let missing = NEEDED.into_iter().filter(|(name, types)| find(history, name, types).is_none());
    missing.map(|(name, types)| format!("{name} ({})", types.join(", "))).collect()
}

fn find<'a>(history: &'a Table, name: &str, types: &[&str]) -> Option<&'a Column> {
    history.column(name).filter(|column| types.is_empty() || types.contains(&column.base_type.as_str()))
}

/// The imports of the table `h` in our words. `status` is NULL where they are neither completed nor rolled back.
fn select(history: &Table) -> String {
    let typed = |name: &str, types: &[&str], cast: &str| {
        find(history, name, types).map(|column| format!("h.{}::{cast}", column.quoted))
    };
    let or_null =
        |name, types, cast: &str| typed(name, types, cast).unwrap_or_else(|| format!("NULL::{cast}"));
    let [created, completed, rolled_back] =
        ["created_at", "completed_at", "rolled_back_at"].map(|name| or_null(name, TIMES, "timestamptz"));
    let status = typed("status", &[], "text").map(|status| format!("lower({status})"));
    let was_rolled_back = match &status {
        Some(status) => format!("{status} = 'rolled_back' OR {rolled_back} IS NOT NULL"),
        None => format!("{rolled_back} IS NOT NULL"),
    };
    let was_completed = match &status {
        Some(status) => format!("{status} = 'completed'"),
        None if find(history, "completed_at", TIMES).is_some() => format!("{completed} IS NOT NULL"),
        None => "true".to_owned(),
    };
    // As text if it is long, like the input of a request that was refused.
    let source = find(history, "source_info", &[]).map_or("'{}'::jsonb".to_owned(), |column| {
        let value = format!("h.{}", column.quoted);
        format!(
            "CASE WHEN {value} IS NULL THEN '{{}}' WHEN octet_length({value}::text) <= 4096 THEN jsonb_build_object('input', {value}) ELSE jsonb_build_object('input', left({value}::text, 4096)) END"
        )
    });
    let person = typed("created_by", &[], "text").map_or("NULL::uuid".to_owned(), |text| {
        format!("(SELECT u.id FROM onceload.users u WHERE {text} IN (u.id::text, u.subject) LIMIT 1)")
    });
    format!(
        "SELECT h.id, h.merchant_id, CASE WHEN h.codes_inserted >= 0 THEN h.codes_inserted::bigint END AS codes_inserted,
       CASE WHEN {was_rolled_back} THEN 'rolled_back' WHEN {was_completed} THEN 'completed' END AS status,
       coalesce({state}, 'not completed') AS state,
       coalesce({created}, {completed}, {rolled_back}, now()) AS created_at,
       coalesce({completed}, {rolled_back}, {created}, now()) AS completed_at,
       coalesce({rolled_back}, {completed}, {created}, now()) AS rolled_back_at,
       {person} AS created_by, {source} AS source_info, {total} AS total_codes_to_insert, {error} AS error_message
  FROM {table} h",
        table = history.name,
        state = status.as_deref().unwrap_or("NULL::text"),
        total = or_null("total_codes_to_insert", NUMBERS, "bigint"),
        error = or_null("error_message", &[], "text"),
    )
}

/// What makes an import one that can be taken.
const IS_TAKEN: &str =
    "status IS NOT NULL AND id IS NOT NULL AND merchant_id IS NOT NULL AND codes_inserted IS NOT NULL";

/// Reads the table of imports, and looks for their codes. `job`: the adopted table's column of the import, quoted; without one no code
/// has the id of an import. Call it only if the table lacks no column.
pub async fn find_content(
    on: &dyn Session,
    history: &Table,
    codes: &Table,
    job: Option<&str>,
) -> DbResult<Content> {
    let is_of_codes = job.map_or("false".to_owned(), |job| {
        format!(
            "(SELECT count(*) FROM jobs WHERE {IS_TAKEN}) > (SELECT count(*) FROM fresh)
       OR EXISTS (SELECT FROM {} c JOIN fresh ON fresh.id = c.{job})",
            codes.name
        )
    });
    let statement = Composed {
        name: "adoption.history",
        sql: format!(
            "-- adoption.history
WITH jobs AS MATERIALIZED ({select}), fresh AS MATERIALIZED (
    SELECT * FROM jobs WHERE {IS_TAKEN} AND NOT EXISTS (SELECT FROM onceload.codes_import_jobs j WHERE j.id = jobs.id)
), merchants AS MATERIALIZED (
    SELECT DISTINCT merchant_id FROM fresh WHERE NOT EXISTS (SELECT FROM onceload.merchants m WHERE m.id = fresh.merchant_id)
), left_out AS (
    SELECT CASE WHEN status IS NULL THEN left(state, 40) ELSE 'without id, merchant or number of codes' END AS state, count(*) AS jobs
      FROM jobs WHERE ({IS_TAKEN}) IS NOT TRUE GROUP BY 1
)
SELECT (SELECT count(*) FROM fresh) AS imports,
       {is_of_codes} AS is_of_codes,
       ARRAY(SELECT jobs || ' ' || state FROM left_out ORDER BY jobs DESC, state LIMIT 8) AS left_out,
       (SELECT count(*) FROM merchants) AS new_merchants,
       ARRAY(SELECT merchant_id::text FROM merchants ORDER BY 1 LIMIT 3) AS merchant_examples",
            select = select(history),
        ),
    };
    let row = statement.one(on, &[]).await?;
    Ok(Content {
        imports: row.get("imports"),
        is_of_codes: row.get("is_of_codes"),
        left_out: row.get("left_out"),
        new_merchants: row.get("new_merchants"),
        merchant_examples: row.get("merchant_examples"),
    })
}

/// Takes the imports, after the view is in place. Those that are there stay as they are. A merchant that is not there gets its id as its
/// name.
pub fn take(history: &Table) -> Vec<String> {
    let select = select(history);
    vec![
        format!(
            "INSERT INTO onceload.merchants (id, name)
SELECT DISTINCT merchant_id, merchant_id::text FROM ({select}) AS jobs WHERE {IS_TAKEN}
ON CONFLICT (id) DO NOTHING"
        ),
        format!(
            "INSERT INTO onceload.codes_import_jobs (id, merchant_id, status, phase, created_at, created_by, completed_at, rolled_back_at,
    finished_at, staging_cleared_at, source_info, file_totals, total_codes_to_insert, codes_inserted, codes_deleted, codes_kept, error_message)
SELECT id, merchant_id, status, status, created_at, created_by, completed_at, CASE WHEN status = 'rolled_back' THEN rolled_back_at END,
       CASE WHEN status = 'rolled_back' THEN rolled_back_at ELSE completed_at END, now(),
       source_info || '{{\"door\": \"adoption\"}}', '{{}}', CASE WHEN total_codes_to_insert >= 0 THEN total_codes_to_insert END, codes_inserted,
       CASE WHEN status = 'rolled_back' THEN greatest(codes_inserted - kept, 0) END, CASE WHEN status = 'rolled_back' THEN kept END,
       left(error_message, 4096)
  FROM ({select}) AS jobs
 CROSS JOIN LATERAL (
       SELECT CASE WHEN status = 'rolled_back' THEN (SELECT count(*) FROM onceload.codes c
                    WHERE c.import_job_id = jobs.id AND c.merchant_id = jobs.merchant_id) END AS kept) AS kept
 WHERE {IS_TAKEN}
ON CONFLICT (id) DO NOTHING"
        ),
    ]
}
