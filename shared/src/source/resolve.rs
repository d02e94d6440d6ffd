//! Looks up which objects a source names now, each in one version.

use crate::domain::field::Mapping;
use crate::domain::key;
use crate::domain::object::{FrozenObject, FrozenSource};
use crate::domain::source::{MAX_FILES, Selection, Source};
use crate::domain::step::{StepError, StepResult};
use crate::s3::objects::Objects;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// HEAD requests under way at a time.
const LOOKS: usize = 16;

/// The objects of a source, in order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The objects that exist.
    pub objects: Vec<FrozenObject>,
    /// Keys that name no object.
    pub missing: Vec<String>,
}

/// Looks every object up. The keys of a listing are checked again: a listing is input, too. `version`: of a single file,
/// where it is known.
pub async fn resolve(objects: &Objects, source: &Source, version: Option<&str>) -> StepResult<Resolved> {
    let keys = keys(objects, source).await?;
    let looks = stream::iter(keys).map(|key| async move {
        let object = objects.head(&key, version).await?;
        Ok::<_, StepError>(object.ok_or(key))
    });
    let found: Vec<Result<FrozenObject, String>> = looks.buffered(LOOKS).try_collect().await?;
    let mut resolved = Resolved { objects: Vec::new(), missing: Vec::new() };
    for object in found {
        match object {
            Ok(object) => resolved.objects.push(object),
            Err(key) => resolved.missing.push(key),
        }
    }
    Ok(resolved)
}

async fn keys(objects: &Objects, source: &Source) -> StepResult<Vec<String>> {
    let prefix = match &source.selection {
        Selection::Files(keys) => {
            let mut keys = keys.clone();
            keys.sort_unstable();
            return Ok(keys);
        }
        Selection::Prefix(prefix) => prefix,
    };
    let listed = objects.list(prefix, MAX_FILES + 1).await?;
    let mut keys: Vec<String> = listed.into_iter().filter(|key| !key.ends_with("/manifest.json")).collect();
    keys.sort_unstable();
    match keys.len() {
        0 => return Err(StepError::invalid(format!("there is no file under {prefix}"))),
        n if n > MAX_FILES => {
            let message = format!("there are more than {MAX_FILES} files under {prefix}: split the batch");
            return Err(StepError::invalid(message));
        }
        _ => {}
    }
    for key in &keys {
        key::check_key(source.merchant, key).map_err(|error| StepError::invalid(error.to_string()))?;
    }
    Ok(keys)
}

/// Of the 30 s that API Gateway gives, so much may go into looking the objects up.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(12);

/// Freezes the source while an HTTP request waits, so that the same one can't be started twice. `None` where an object is
/// missing or S3 is slow: then opening the import says so, or freezes it.
pub async fn freeze(objects: &Objects, source: &Source, version: Option<&str>) -> Option<FrozenSource> {
    match tokio::time::timeout(FREEZE_TIMEOUT, resolve(objects, source, version)).await {
        Ok(Ok(found)) if found.missing.is_empty() => {
            let fingerprint = fingerprint(&found.objects, &source.mapping);
            Some(FrozenSource { objects: found.objects, fingerprint })
        }
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "source not frozen; opening the import will freeze it");
            None
        }
        Err(_) => {
            tracing::warn!("looking the source up takes too long; opening the import will freeze it");
            None
        }
    }
}

/// Names a source: the same objects with the same mapping have the same fingerprint.
pub fn fingerprint(objects: &[FrozenObject], mapping: &Mapping) -> String {
    let mut hash = Sha256::new();
    for object in objects {
        for part in [&object.key, object.version_id.as_ref().unwrap_or(&object.etag)] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
    }
    hash.update(json!(mapping).to_string());
    hex(&hash.finalize())
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
