//! The stored versions and multipart uploads, and the faults that a test has injected.

use super::body::Body;
use bytes::Bytes;
use s3s::dto::ETagCondition;
use s3s::{S3Result, s3_error};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// A fault in reading one key.
#[derive(Debug, Clone, Default)]
pub struct ReadFault {
    /// Breaks off the response after so many bytes, so many times.
    pub break_off: Option<(u64, u32)>,
    /// Holds back the bytes from this offset on until the gate opens.
    pub gate: Option<(u64, watch::Receiver<bool>)>,
    /// Pauses before every 128 KiB.
    pub slow: Option<Duration>,
    /// Responds with this status, so many times.
    pub refuse: Option<(u16, u32)>,
}

#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) etag: String,
    pub(super) body: Body,
    /// Its storage class is GLACIER, and it is not restored.
    pub(super) is_archived: bool,
}

/// A multipart upload: its key, and its parts with their etags.
pub(super) type OpenUpload = (String, BTreeMap<i32, (String, Bytes)>);

#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) keys: BTreeMap<String, Vec<Version>>,
    pub(super) faults: BTreeMap<String, ReadFault>,
    pub(super) reads: BTreeMap<String, u32>,
    /// Multipart uploads that are neither completed nor aborted, by id.
    pub(super) open: BTreeMap<String, OpenUpload>,
    /// How many more parts pass before the gate holds the next one back.
    pub(super) part_gate: Option<(u32, watch::Receiver<bool>)>,
    /// How many parts the gate has held back so far.
    pub(super) parts_held: u32,
    pub(super) refuses_writes: bool,
    pub(super) serial: u32,
}

impl Store {
    pub(super) fn put(&mut self, key: &str, body: Body) -> Version {
        self.serial += 1;
        let id = format!("v{}", self.serial);
        // The etag is no MD5, as with multipart uploads and encryption, so that no code can rely on one.
        let version = Version { etag: etag(&format!("{key} {id}")), id, body, is_archived: false };
        self.keys.entry(key.to_owned()).or_default().push(version.clone());
        version
    }

    /// Refuses a write under `if-none-match: *` to a key that has an object.
    pub(super) fn check_condition(&self, key: &str, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
        match if_none_match {
            Some(ETagCondition::Any) if self.keys.contains_key(key) => Err(s3_error!(PreconditionFailed)),
            Some(ETagCondition::ETag(_)) => Err(s3_error!(NotImplemented)),
            _ => Ok(()),
        }
    }

    /// The gate that the next part must wait for, if any.
    pub(super) fn hold_part(&mut self) -> Option<watch::Receiver<bool>> {
        match &mut self.part_gate {
            Some((0, gate)) => {
                self.parts_held += 1;
                Some(gate.clone())
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }
}

pub(super) fn etag(of: &str) -> String {
    Sha256::digest(of).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
