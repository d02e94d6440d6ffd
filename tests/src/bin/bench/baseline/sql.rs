//! The old way's statements.

use crate::plain::PlainFile;
use std::fmt::Write;
use std::path::Path;

/// Rows of one UPDATE of the check against production.
const CHUNK: u64 = 100_000;
const MERCHANT: &str = xtask::generate::EXAMPLE_MERCHANT;

/// Production in its old shape, and the staging table.
pub(super) fn tables(collation: &str) -> String {
    let row = format!(
        "code text COLLATE \"{collation}\" NOT NULL, serial text, sku text, points integer, sku_name text, \
         batch_code text, price numeric(12, 2), window_start timestamptz, window_end timestamptz, \
         merchant_id uuid NOT NULL DEFAULT '{MERCHANT}'"
    );
    format!(
        "CREATE TABLE codes (id uuid NOT NULL DEFAULT gen_random_uuid(), {row}, \
             claimed boolean NOT NULL DEFAULT false, import_job_id uuid, created_at timestamptz NOT NULL DEFAULT now());
         CREATE TABLE codes_check_temp (row_number bigserial, {row}, \
             internal_dup boolean NOT NULL DEFAULT false, existing_dup boolean NOT NULL DEFAULT false);
         CREATE INDEX ON codes_check_temp (code, merchant_id);
         CREATE INDEX ON codes_check_temp (merchant_id, internal_dup, existing_dup);
         CREATE INDEX ON codes_check_temp (row_number)"
    )
}

/// Production's indexes, made after the codes that were there before.
pub(super) fn indexes() -> String {
    "ALTER TABLE codes ADD PRIMARY KEY (id);
     CREATE UNIQUE INDEX ON codes (code, merchant_id);
     CREATE INDEX ON codes (merchant_id, code);
     CREATE INDEX ON codes (import_job_id)"
        .into()
}

/// One file: a temporary table like the CSV, `\copy`, and from there into the staging table.
pub(super) fn load(file: &PlainFile) -> String {
    let columns: Vec<String> = file.columns.iter().map(|name| format!("{name} text")).collect();
    let mut script = format!("CREATE TEMP TABLE raw ({});\n", columns.join(", "));
    let _ = writeln!(
        script,
        "\\copy raw from '{}' with (format csv, header, delimiter '{}')",
        file.path.display(),
        char::from(file.delimiter)
    );
    // Name, and what makes its type of the text.
    let typed = [
        ("code", "btrim(code)"),
        ("serial", "nullif(serial, '')"),
        ("sku", "nullif(sku, '')"),
        ("points", "nullif(points, '')::integer"),
        ("sku_name", "nullif(sku_name, '')"),
        ("batch_code", "nullif(batch_code, '')"),
        ("price", "nullif(price, '')::numeric"),
        ("window_start", "nullif(window_start, '')::timestamptz"),
        ("window_end", "nullif(window_end, '')::timestamptz"),
        ("merchant_id", "merchant_id::uuid"),
    ];
    let there: Vec<_> = typed.iter().filter(|(name, _)| file.columns.iter().any(|it| it == name)).collect();
    let names: Vec<&str> = there.iter().map(|(name, _)| *name).collect();
    let values: Vec<&str> = there.iter().map(|(_, value)| *value).collect();
    let _ = writeln!(
        script,
        "INSERT INTO codes_check_temp ({}) SELECT {} FROM raw;",
        names.join(", "),
        values.join(", ")
    );
    script
}

/// Internal duplicates in one statement, existing ones by chunks of row numbers.
pub(super) fn mark(rows: u64) -> String {
    let mut script = String::from(
        "UPDATE codes_check_temp t SET internal_dup = true
           FROM (SELECT row_number, row_number() OVER (PARTITION BY code ORDER BY row_number) AS nth
                   FROM codes_check_temp) d
          WHERE d.row_number = t.row_number AND d.nth > 1;\n",
    );
    for chunk in 0..rows.div_ceil(CHUNK) {
        let _ = writeln!(
            script,
            "UPDATE codes_check_temp t SET existing_dup = true WHERE t.row_number > {} AND t.row_number <= {}
                AND EXISTS (SELECT FROM codes c WHERE c.code = t.code AND c.merchant_id = t.merchant_id);",
            chunk * CHUNK,
            (chunk + 1) * CHUNK
        );
    }
    script
}

pub(super) const VALIDATE: &str =
    "SELECT count(*) FROM codes_check_temp t WHERE NOT internal_dup AND NOT existing_dup
    AND EXISTS (SELECT FROM codes c WHERE c.code = t.code AND c.merchant_id = t.merchant_id);
SELECT count(*) FROM codes_check_temp;
SELECT count(*) FROM codes_check_temp WHERE NOT internal_dup AND NOT existing_dup;\n";

pub(super) const INSERT: &str = "INSERT INTO codes (code, serial, sku, points, sku_name, batch_code, price,
        window_start, window_end, merchant_id, import_job_id)
SELECT code, serial, sku, points, sku_name, batch_code, price, window_start, window_end, merchant_id,
       '00000000-0000-4000-8000-000000000001'
  FROM codes_check_temp t WHERE NOT internal_dup AND NOT existing_dup
   AND NOT EXISTS (SELECT FROM codes c WHERE c.code = t.code AND c.merchant_id = t.merchant_id);\n";

pub(super) const ROLLBACK: &str =
    "DELETE FROM codes WHERE import_job_id = '00000000-0000-4000-8000-000000000001';\n";

pub(super) const CLEAR: &str = "DELETE FROM codes_check_temp;\n";

pub(super) fn export(target: &Path) -> String {
    format!(
        "\\copy (SELECT * FROM codes_check_temp WHERE internal_dup OR existing_dup) to '{}' with (format csv, header)\n",
        target.display()
    )
}
