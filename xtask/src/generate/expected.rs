//! The counts that an import of a generated batch must report.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// The counts of a batch and of each of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub merchant_id: String,
    /// Codes that the merchant has before the import.
    pub production: u64,
    pub records: u64,
    pub staged: u64,
    pub rejected: u64,
    pub skipped: u64,
    /// `both_duplicates` included.
    pub internal_duplicates: u64,
    /// `both_duplicates` included.
    pub database_duplicates: u64,
    pub both_duplicates: u64,
    pub clean: u64,
    /// The number of rejects by reason, without reasons that do not occur.
    pub rejects_by_reason: BTreeMap<String, u64>,
    pub files: Vec<ExpectedFile>,
}

/// The counts of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedFile {
    pub name: String,
    pub records: u64,
    pub staged: u64,
    pub rejected: u64,
    pub skipped: u64,
    /// The size of the file, compressed if it is.
    pub bytes: u64,
}

impl Expected {
    /// The totals of a plan that has passed its check, without files.
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            merchant_id: plan.merchant_id.clone(),
            production: plan.production,
            records: plan.rows,
            staged: plan.staged(),
            rejected: plan.rejects,
            skipped: plan.skipped,
            internal_duplicates: plan.internal,
            database_duplicates: plan.existing,
            both_duplicates: plan.both,
            clean: plan.clean(),
            rejects_by_reason: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    /// The counts of a second import of the same batch: every staged code is in production, so each row is an existing
    /// duplicate, and each repetition is a duplicate of both kinds.
    pub fn imported_again(&self) -> Self {
        Self {
            production: self.production + self.clean,
            database_duplicates: self.staged,
            both_duplicates: self.internal_duplicates,
            clean: 0,
            ..self.clone()
        }
    }

    /// Formats the files and the totals as a table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let width = self.files.iter().map(|file| file.name.len()).max().unwrap_or(0).max(8);
        let mut line = |name: &str, numbers: [String; 5]| {
            let [records, staged, rejected, skipped, bytes] = numbers;
            let _ = writeln!(
                out,
                "{name:<width$} {records:>12} {staged:>12} {rejected:>10} {skipped:>10} {bytes:>14}"
            );
        };
        line("file", ["records", "staged", "rejected", "skipped", "bytes"].map(str::to_owned));
        for file in &self.files {
            let numbers = [file.records, file.staged, file.rejected, file.skipped, file.bytes];
            line(&file.name, numbers.map(grouped));
        }
        let bytes = self.files.iter().map(|file| file.bytes).sum();
        line("total", [self.records, self.staged, self.rejected, self.skipped, bytes].map(grouped));
        let _ = writeln!(out, "\nAn import of these files must report:");
        for (name, number) in [
            ("internal duplicates", self.internal_duplicates),
            ("existing duplicates", self.database_duplicates),
            ("of both kinds", self.both_duplicates),
            ("clean", self.clean),
        ] {
            let _ = writeln!(out, "  {name:<30} {:>12}", grouped(number));
        }
        for (reason, number) in &self.rejects_by_reason {
            let _ = writeln!(out, "  {:<30} {:>12}", format!("rejected {reason}"), grouped(*number));
        }
        let _ = write!(out, "  {:<30} {:>12}", "codes in production before", grouped(self.production));
        out
    }
}

/// `15520410` as `15,520,410`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
