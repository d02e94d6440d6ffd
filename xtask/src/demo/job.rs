//! The job as the API returns it. Members without a value yet are `None`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct JobPage {
    pub imports: Vec<Job>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Job {
    pub job_id: String,
    pub status: String,
    #[serde(default)]
    pub phase: Option<String>,
    #[serde(default)]
    pub source: Value,
    #[serde(default)]
    pub files: Files,
    #[serde(default)]
    pub bytes: Done,
    #[serde(default)]
    pub chunks: Done,
    #[serde(default)]
    pub counts: Counts,
    #[serde(default)]
    pub rate: Option<f64>,
    #[serde(default)]
    pub eta_seconds: Option<f64>,
    #[serde(default)]
    pub blocked: bool,
    #[serde(default)]
    pub insert_estimate_seconds: Option<f64>,
    #[serde(default)]
    pub verification: Value,
    #[serde(default)]
    pub error_message: Option<String>,
    #[serde(default)]
    pub validation_errors: Value,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub(super) struct Files {
    pub total: u64,
    pub loaded: u64,
    pub failed: u64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub(super) struct Done {
    pub total: u64,
    pub done: u64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub(super) struct Counts {
    pub records: Option<u64>,
    pub staged: Option<u64>,
    pub rejected: Option<u64>,
    pub skipped: Option<u64>,
    pub internal_duplicates: Option<u64>,
    pub database_duplicates: Option<u64>,
    pub both_duplicates: Option<u64>,
    pub clean: Option<u64>,
    pub inserted: Option<u64>,
    pub late_duplicates: Option<u64>,
    pub merchant_total: Option<u64>,
}

/// The files of a job with their counts.
#[derive(Debug, Deserialize)]
pub(super) struct FilePage {
    pub files: Vec<JobFile>,
    /// The cursor of the next page.
    #[serde(default)]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JobFile {
    #[serde(alias = "name")]
    pub key: String,
    #[serde(default)]
    pub records: Option<u64>,
    #[serde(default)]
    pub staged: Option<u64>,
    #[serde(default)]
    pub rejected: Option<u64>,
    #[serde(default)]
    pub skipped: Option<u64>,
}

impl Job {
    /// Whether the job has ended.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled" | "expired" | "rolled_back")
    }

    /// Whether the job waits for approval.
    pub(super) fn is_waiting(&self) -> bool {
        self.status == "awaiting_approval" && !self.is_blocked()
    }

    /// Whether the job waits for another import of the merchant.
    pub(super) fn is_blocked(&self) -> bool {
        self.phase.as_deref() == Some("waiting_for_merchant")
    }

    /// Whether the import's own verification succeeded.
    pub(super) fn is_verified(&self) -> bool {
        self.verification.get("verified").and_then(Value::as_bool) == Some(true)
    }
}
