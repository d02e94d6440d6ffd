//! Identifiers that can't be mixed up.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/// A tenant: every code, job and object key belongs to one.
    MerchantId);
id!(/// One import. UUIDv7, so ids sort by time and BRIN on `codes.import_job_id` stays selective; any UUID if it came with an adoption.
    JobId);
id!(/// A row of `communities`.
    CommunityId);
id!(/// A row of `users`.
    UserId);
id!(/// A row of `import_tasks`: one rollback, verification or export.
    TaskId);

impl JobId {
    /// A new, time-ordered id (RFC 9562 version 7).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl CommunityId {
    /// A new, time-ordered id (RFC 9562 version 7).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}
