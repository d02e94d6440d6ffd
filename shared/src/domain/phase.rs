//! `codes_import_jobs.phase`: finer than the status, for people, and for two decisions about marking again.

use super::status::UnknownStatus;
use serde::{Deserialize, Serialize};

macro_rules! phases {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// Where an import stands within its status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Phase { $($(#[$doc])* $variant),* }

        impl Phase {
            /// Every phase.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as users see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl std::str::FromStr for Phase {
            type Err = UnknownStatus;
            fn from_str(name: &str) -> Result<Self, UnknownStatus> {
                match name { $($name => Ok(Self::$variant),)* other => Err(UnknownStatus(other.to_owned())) }
            }
        }
    };
}

phases! {
    /// Registered by its execution.
    Registered = "registered",
    /// Asked for over HTTP; its execution has not begun.
    Queued = "queued",
    /// Another import of the merchant works.
    WaitingForMerchant = "waiting_for_merchant",
    /// A step is repeated because the database does not answer, or somebody holds a lock in it.
    WaitingForDatabase = "waiting_for_database",
    /// A step is repeated because S3 does not answer.
    WaitingForStorage = "waiting_for_storage",
    /// Files are loaded.
    Loading = "loading",
    /// Another attempt: a person asked for it, or approved when the execution was over.
    Retrying = "retrying",
    /// Staging was lost and is loaded again.
    StagingLost = "staging_lost",
    /// Duplicates are marked.
    Checking = "checking",
    /// Production moved: the chunks are planned and marked again.
    Recheck = "recheck",
    /// The sums are checked.
    Validating = "validating",
    /// The sums are right.
    Validated = "validated",
    /// A person decides.
    AwaitingApproval = "awaiting_approval",
    /// Codes enter production.
    Inserting = "inserting",
    /// The codes are in; they are counted.
    Verifying = "verifying",
    /// A person asked a working import to stop.
    Cancelling = "cancelling",
    /// Its codes leave production.
    RollingBack = "rolling_back",
    /// Another import took its place.
    Superseded = "superseded",
    /// As the status.
    Completed = "completed",
    /// As the status.
    RolledBack = "rolled_back",
    /// As the status.
    Failed = "failed",
    /// As the status.
    Cancelled = "cancelled",
    /// As the status.
    Expired = "expired",
}
