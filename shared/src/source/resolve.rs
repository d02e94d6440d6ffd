//! Looks up which objects a source names now, each in one version.

use super::completed::Completed;
use crate::db::Database;
use crate::domain::fault::FileFault;
use crate::domain::field::{Mapping, canonical};
use crate::domain::file_name::FileName;
use crate::domain::ids::MerchantId;
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

/// How many names of what was passed over are listed, and how many characters of each.
const MAX_PASSED_OVER: usize = 20;
const MAX_SHOWN: usize = 100;

/// The objects of a source, in order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The objects that exist.
    pub objects: Vec<FrozenObject>,
    /// Keys that name no object, or none that S3 hands out.
    pub faults: Vec<FileFault>,
    /// What lies under the prefix and was passed over: the first names, and how many more.
    pub passed_over: Vec<String>,
}

/// Looks every object up; of an upload, the version that was completed. The keys of a listing are checked again: a listing is
/// input, too. `version`: of a single file, where it is known. Call without a connection: this takes one.
pub async fn resolve(
    objects: &Objects,
    db: &Database,
    source: &Source,
    version: Option<&str>,
) -> StepResult<Resolved> {
    let (mut keys, passed_over) = match &source.selection {
        Selection::Files(keys) => (keys.clone(), Vec::new()),
        Selection::Prefix(prefix) => list(objects, source.merchant, prefix).await?,
    };
    keys.sort_unstable();
    let completed = &Completed::find(db, keys.iter().map(String::as_str)).await?;
    let looks = stream::iter(keys).map(|key| async move {
        let object = completed.head(objects, &key, version).await?;
        Ok::<_, StepError>(object.map_err(|fault| FileFault::new(key, fault)))
    });
    let found: Vec<Result<FrozenObject, FileFault>> = looks.buffered(LOOKS).try_collect().await?;
    let mut resolved = Resolved { objects: Vec::new(), faults: Vec::new(), passed_over };
    for object in found {
        match object {
            Ok(object) => resolved.objects.push(object),
            Err(fault) => resolved.faults.push(fault),
        }
    }
    Ok(resolved)
}

/// The keys under a prefix, and the names of the markers that tools have left there. A file with another name that no
/// import takes is listed like any other: inspecting it says so.
async fn list(
    objects: &Objects,
    merchant: MerchantId,
    prefix: &str,
) -> StepResult<(Vec<String>, Vec<String>)> {
    let (mut markers, mut more) = (Vec::new(), 0u64);
    let is_file = |key: &str| {
        if FileName::of(key) == FileName::Marker {
            if markers.len() < MAX_PASSED_OVER {
                let name = key.strip_prefix(prefix).filter(|name| !name.is_empty()).unwrap_or(key);
                markers.push(name.chars().take(MAX_SHOWN).collect());
            } else {
                more += 1;
            }
            return false;
        }
        !key.ends_with("/manifest.json")
    };
    let keys = objects.list(prefix, MAX_FILES, is_file).await?;
    if more > 0 {
        markers.push(format!("and {more} more"));
    }
    match keys.len() {
        0 if markers.is_empty() => {
            return Err(StepError::invalid(format!("there is no file under {prefix}")));
        }
        0 => {
            let passed_over = markers.join(", ");
            let message = format!("there is no file under {prefix}; passed over: {passed_over}");
            return Err(StepError::invalid(message));
        }
        n if n > MAX_FILES => {
            let message = format!("there are more than {MAX_FILES} files under {prefix}: split the batch");
            return Err(StepError::invalid(message));
        }
        _ => {}
    }
    for key in &keys {
        key::check_key(merchant, key).map_err(|error| StepError::invalid(error.to_string()))?;
    }
    Ok((keys, markers))
}

/// Of the 30 s that API Gateway gives, so much may go into looking the objects up.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(12);

/// Freezes the source while an HTTP request waits, so that the same one can't be started twice. `None` where an object is
/// missing or S3 is slow: then opening the import says so, or freezes it.
pub async fn freeze(
    objects: &Objects,
    db: &Database,
    source: &Source,
    version: Option<&str>,
) -> Option<FrozenSource> {
    match tokio::time::timeout(FREEZE_TIMEOUT, resolve(objects, db, source, version)).await {
        Ok(Ok(found)) if found.faults.is_empty() => {
            let fingerprint = fingerprint(&found.objects, &source.mapping);
            Some(FrozenSource { objects: found.objects, passed_over: found.passed_over, fingerprint })
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

/// Names a source: the same objects, in order of their keys, with the same mapping have the same fingerprint.
pub fn fingerprint(objects: &[FrozenObject], mapping: &Mapping) -> String {
    let mut hash = Sha256::new();
    for object in objects {
        for part in [&object.key, object.version_id.as_ref().unwrap_or(&object.etag)] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
    }
    hash.update(json!(canonical(mapping)).to_string());
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
