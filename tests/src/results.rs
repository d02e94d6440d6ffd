//! The names that operators' scripts know: what each step results in, and the columns of `codes_check_temp`. They never change.

use serde_json::Value;
use std::collections::BTreeSet;

/// A result: the names that are promised, and those that came after them.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    pub promised: &'static [&'static str],
    pub besides: &'static [&'static str],
}

/// The totals of the marking.
pub const MARK: Names = Names {
    promised: &[
        "success",
        "total_rows",
        "internal_duplicates",
        "database_duplicates",
        "clean_count",
        "chunks_processed",
    ],
    besides: &["both_duplicates"],
};

pub const VALIDATE: Names = Names {
    promised: &["valid", "total_clean_codes", "validation_errors", "errors", "new_db_duplicates_found"],
    besides: &["approval_stands", "blocked"],
};

pub const INSERT: Names =
    Names { promised: &["success", "job_id", "codes_inserted", "message"], besides: &["late_duplicates"] };

/// The insert of an import without a clean code.
pub const INSERT_NOTHING: Names = Names { besides: &[], ..INSERT };

pub const VERIFY: Names = Names {
    promised: &["success", "job_id", "expected_count", "actual_count", "verified"],
    besides: &["problems"],
};

pub const ROLLBACK: Names = Names {
    promised: &["success", "job_id", "codes_deleted", "codes_kept", "original_insert_count", "message"],
    besides: &["files"],
};

/// The output of an execution of the state machine `import`.
pub const OUTPUT: Names =
    Names { promised: &["job_id", "status", "mark", "validate", "insert", "verify"], besides: &[] };

/// The columns of `codes_check_temp`, beside those of the files.
pub const CODES_CHECK_TEMP: Names =
    Names { promised: &["row_number", "internal_dup", "existing_dup"], besides: &["late_dup"] };

impl Names {
    /// Fails unless the result has exactly these members.
    pub fn check(&self, result: &Value) {
        let members = result.as_object().unwrap_or_else(|| panic!("no object: {result}"));
        let found: BTreeSet<&str> = members.keys().map(String::as_str).collect();
        assert_eq!(found, self.promised.iter().chain(self.besides).copied().collect(), "{result:#}");
    }
}
