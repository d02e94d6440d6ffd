//! Applies the migrations to a stack's database. A database that other migrations made has to be wiped.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::postgres::{DATABASE, Postgres, ROLE};
use crate::{Error, Result, aws};

/// Invokes `migrate` and returns its result.
pub(super) fn migrate(
    directory: &Path,
    postgres: &Postgres,
    engine: &Engine,
    function: &str,
) -> Result<Value> {
    // Before the schema `onceload` there was another, without a history in `onceload` to compare.
    let in_public = "SELECT to_regclass('public.codes_import_jobs') IS NOT NULL";
    if postgres.sql(ROLE, DATABASE, in_public)?.trim() == "t" {
        return Err(advise_wipe(directory, "its tables lie in the schema `public`"));
    }
    let answer = aws::invoke(&engine.endpoint(), function, &json!({}), Duration::from_secs(900));
    answer.map_err(|error| match error {
        Error::Function { kind, message, .. } if kind == "InvalidInput" => advise_wipe(directory, &message),
        error => {
            let (_, functions) = engine.logs();
            let doing = format!("the migration failed; see {}", functions.display());
            Error::Failed { doing, source: error.into() }
        }
    })
}

fn advise_wipe(directory: &Path, reason: &str) -> Error {
    Error::advice(format!(
        "another version made the database in {}: {reason}\nRun `cargo xtask down --wipe`, which removes it, then `up` again.",
        directory.display()
    ))
}
