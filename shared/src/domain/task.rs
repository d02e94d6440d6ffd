//! Tasks on an import that has ended or is waiting: a rollback, another verification, an export.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$inner])* $variant),* }

        impl $name {
            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word as users see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The variant of this word.
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// `import_tasks.action`.
    Action {
        /// Deletes the codes of a completed import.
        Rollback = "rollback",
        /// Counts the codes of a completed import again.
        Verify = "verify",
        /// Writes a report of an import.
        Export = "export",
    }
}

words! {
    /// `import_tasks.kind`: what is exported.
    ExportKind {
        /// Rows that were not inserted because their code was there before.
        Duplicates = "duplicates",
        /// Every staged row with its status.
        Report = "report",
        /// Records that were not staged, as they were.
        Rejects = "rejects",
    }
}

words! {
    /// What a rollback does with codes that were claimed since the import.
    ClaimedCodes {
        /// They stay, and are listed.
        Keep = "keep",
        /// They are deleted like the others.
        Delete = "delete",
    }
}

words! {
    /// `import_tasks.status`.
    TaskStatus {
        /// Asked for, and not over.
        Active = "active",
        /// Over, with a result.
        Done = "done",
        /// Given up.
        Failed = "failed",
    }
}
