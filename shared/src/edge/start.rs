//! What the HTTP doors of an import have in common.

use super::app::App;
use super::sources;
use crate::db::files::FrozenObject;
use crate::domain::ids::JobId;
use crate::domain::source::{Source, StartRequest};
use serde_json::{Value, json};
use std::time::Duration;

/// Of the 30 s that API Gateway gives, so much may go into looking at the source.
const LOOK: Duration = Duration::from_secs(12);

/// Freezes the source now, so that the same one can't be started twice. `None` where something is missing or S3 is slow:
/// then opening the import says what, or does it.
pub async fn freeze(
    app: &App,
    source: &Source,
    version: Option<&str>,
) -> Option<(Vec<FrozenObject>, String)> {
    let resolved = tokio::time::timeout(LOOK, sources::resolve(app.objects(), source, version)).await;
    match resolved {
        Ok(Ok(there)) if there.missing.is_empty() => {
            let fingerprint = sources::fingerprint(&there.objects, &source.mapping);
            Some((there.objects, fingerprint))
        }
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "left to the opening");
            None
        }
        Err(_) => {
            tracing::warn!("looking at the source takes long: left to the opening");
            None
        }
    }
}

/// `codes_import_jobs.source_info`: what was asked, and through which door.
pub fn info(asked: &StartRequest, door: &str, version: Option<&str>) -> Value {
    let mut info = json!(asked);
    if let Some(members) = info.as_object_mut() {
        members.insert("door".into(), door.into());
        members.insert("version_id".into(), version.into());
        members.retain(|_, value| !value.is_null());
    }
    info
}

/// Where an import's state can be read.
pub fn status_url(job: JobId) -> String {
    format!("/imports/{job}")
}
