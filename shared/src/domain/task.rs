//! What people ask of an import that is over or waits: a rollback, another verification, exports.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$inner])* $variant),* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

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
    Action { Rollback = "rollback", Verify = "verify", Export = "export" }
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
    Claimed { Keep = "keep", Delete = "delete" }
}

words! {
    /// `import_tasks.status`.
    TaskStatus { Active = "active", Done = "done", Failed = "failed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for kind in ExportKind::ALL {
            assert_eq!(ExportKind::by_name(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).expect("json"), kind.as_str());
        }
        assert_eq!(Claimed::by_name("burn"), None);
        assert_eq!(Action::Rollback.to_string(), "rollback");
        assert_eq!(TaskStatus::by_name("done"), Some(TaskStatus::Done));
    }
}
