//! The states of an import and the edges between them. The database enforces the same edges
//! (trigger `codes_import_jobs_transition`); a test compares the two.

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! statuses {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// `codes_import_jobs.status`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "docs/ARCHITECTURE.md draws the life of a job")]
        pub enum Status { $($variant),* }

        impl Status {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as users see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl std::str::FromStr for Status {
            type Err = UnknownStatus;
            fn from_str(name: &str) -> Result<Self, UnknownStatus> {
                match name { $($name => Ok(Self::$variant),)* other => Err(UnknownStatus(other.to_owned())) }
            }
        }
    };
}

statuses! {
    Pending = "pending",
    Loading = "loading",
    Checking = "checking",
    Validating = "validating",
    AwaitingApproval = "awaiting_approval",
    Processing = "processing",
    Completed = "completed",
    RolledBack = "rolled_back",
    Failed = "failed",
    Cancelled = "cancelled",
    Expired = "expired",
}

/// A word that is no state of an import.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a status of an import")]
pub struct UnknownStatus(pub String);

impl Status {
    /// Whether the import is over. (`failed` may be retried, `completed` rolled back.)
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// Whether a function works on the import, which then holds the merchant's lease.
    pub fn is_working(self) -> bool {
        matches!(self, Self::Loading | Self::Checking | Self::Validating | Self::Processing)
    }

    /// Whether an import in this state may enter the next one.
    pub fn may_become(self, next: Self) -> bool {
        use Status::*;
        match (self, next) {
            (Pending, Loading) | (Loading, Checking) | (Checking, Validating) => true,
            (Validating, AwaitingApproval | Completed | Checking) => true,
            // Only where an approval of the very codes that are clean stands.
            (Validating, Processing) => true,
            (AwaitingApproval, Processing | Loading | Expired) => true,
            (Processing, Completed | Checking) => true,
            (Checking | Validating | Processing, Loading) => true,
            (Completed, RolledBack) | (Failed, Loading) => true,
            (from, Failed | Cancelled) => !from.is_final(),
            _ => false,
        }
    }
}
