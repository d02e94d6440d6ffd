//! What a person asks of an adoption, and what they get to read.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which table becomes `onceload.codes`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The table with its schema, such as `public.promo_codes`; quoted where PostgreSQL needs it.
    pub table: String,
    /// A column of `onceload.codes` -> the table's column, or an SQL expression over its columns. Columns of the same name need none.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// The table of the imports that the application's scripts made, with its schema. Without it, `codes_import_jobs` in the schema of
    /// the table, if there is one.
    #[serde(default)]
    pub history: Option<String>,
    /// Run the SQL. Otherwise it is only printed.
    #[serde(default)]
    pub apply: bool,
}

/// The SQL, what speaks against it, and whether this call ran it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What is still to be done, in order; each may be run by hand.
    pub sql: Vec<String>,
    /// What has to be done first. Nothing is applied while there are any.
    pub problems: Vec<Finding>,
    /// What an import will do there.
    pub warnings: Vec<Finding>,
    /// The table is adopted, by this call or before it.
    pub applied: bool,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub reason: Reason,
    /// The table, column, index, trigger or constraint.
    pub object: String,
    /// What was found.
    pub detail: String,
    /// What to do.
    pub advice: String,
}

/// The kinds of findings: problems, then warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No such table or column.
    NotFound,
    /// Our role may not do what is needed.
    NotOwner,
    /// The table is partitioned, or a partition.
    Partitioned,
    /// A view of it would not let us insert.
    NotUpdatable,
    /// A column that refuses NULL gets no value.
    NotNullColumn,
    /// The code's type is not text compared by equality of bytes, or codes are there that could not be imported.
    CodeType,
    /// The merchant's type is not uuid.
    MerchantType,
    /// A merchant has a code more than once.
    Duplicates,
    /// Another unique index would refuse codes that are no duplicates.
    OtherUnique,
    /// `onceload.codes` has codes of its own.
    CodesNotEmpty,
    /// An index is missing its end, or would take too long.
    IndexInvalid,
    /// A trigger or a CHECK has a part in every insert.
    Trigger,
    /// Policies have a part in every statement.
    RowSecurity,
    /// A foreign key has a part in every insert or rollback.
    ForeignKey,
    /// Earlier imports that can't be taken, or merchants that are made for those that are.
    History,
    /// A field of the files is not stored.
    MissingColumn,
    /// We may not VACUUM the table.
    Vacuum,
}

impl Finding {
    /// One thing that was found.
    pub fn new(
        reason: Reason,
        object: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { reason, object: object.into(), detail: detail.into(), advice: advice.into() }
    }
}
