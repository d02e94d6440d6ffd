//! Manifests: the files of a batch, read from the object that started the import.

use crate::input::{InputError, read};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::db::jobs::{self, Job};
use shared::domain::field::Mapping;
use shared::domain::ids::MerchantId;
use shared::domain::json;
use shared::domain::source::{Door, Options, Source, SourceInfo, StartRequest};
use shared::domain::step::{StepError, StepResult};
use shared::lambda::App;
use std::fmt::Display;

/// Larger manifests are refused.
const MAX_BYTES: i64 = 1024 * 1024;

/// `stage/{merchant}/{batch}/manifest.json`. Names are relative to the batch.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The names of the files; without it, every file of the batch.
    #[serde(default)]
    files: Option<Vec<String>>,
    /// Headers that are not recognised by their names.
    #[serde(default)]
    mapping: Option<Mapping>,
    /// Bounds of the import.
    #[serde(default)]
    options: Option<Options>,
}

impl Manifest {
    /// The request that a manifest stands for. `key` is the manifest's own, under `stage/{merchant}/{batch}/`.
    fn into_request(self, merchant: MerchantId, key: &str) -> StartRequest {
        let batch = key.strip_suffix("manifest.json").unwrap_or(key).to_owned();
        let (files, prefix) = match self.files {
            Some(names) => (Some(names.iter().map(|name| format!("{batch}{name}")).collect()), None),
            None => (None, Some(batch)),
        };
        StartRequest { merchant_id: merchant, files, prefix, mapping: self.mapping, options: self.options }
    }
}

/// Reads the manifest that started the job, and keeps on the job what it says.
pub(crate) async fn read_source(app: &App, job: &Job, key: &str) -> StepResult<Source> {
    let invalid = |error: &dyn Display| StepError::invalid(format!("{key}: {error}"));
    let manifest = fetch(app, job, key).await?;
    let request = manifest.into_request(job.merchant, key);
    let source = request.check().map_err(|error| invalid(&error))?;
    let connection = app.db.connection().await?;
    let asked = SourceInfo::of_request(Door::S3, show(&request));
    // `false`: a ghost of this very step has frozen the files already, from the same manifest.
    jobs::set_source(&connection, job, &asked, &source.mapping, source.options).await?;
    Ok(source)
}

async fn fetch(app: &App, job: &Job, key: &str) -> StepResult<Manifest> {
    let version = job.source_info.manifest_version.as_deref();
    let wrong = |what: &dyn Display| StepError::invalid(format!("{key}: {what}"));
    let object = app.objects().head(key, version).await?.map_err(|fault| wrong(&fault))?;
    if object.bytes > MAX_BYTES {
        return Err(wrong(&"the manifest is larger than 1 MiB; split the batch"));
    }
    let bytes = app.objects().read(&object).await?.map_err(|fault| wrong(&fault))?;
    let manifest = json::parse(&bytes).map_err(|error| wrong(&error))?;
    // Its members by name: serde would also take them in order from an array.
    if !manifest.is_object() {
        return Err(wrong(&"a manifest is a JSON object: {\"files\": [names]}"));
    }
    if let Some(pointer) = json::find_nul(&manifest) {
        return Err(wrong(&InputError::Nul(pointer)));
    }
    read(&manifest).map_err(|error| wrong(&error))
}

/// What the job's source shows of the manifest.
fn show(request: &StartRequest) -> Value {
    json!({ "files": request.files, "prefix": request.prefix, "options": request.options })
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: &str = "11112222-3333-4444-5555-666677778888";

    #[test]
    fn a_manifest_names_files_of_its_batch() {
        let merchant: MerchantId = serde_json::from_value(json!(M)).expect("an id");
        let key = format!("stage/{M}/b1/manifest.json");
        let manifest = Manifest { files: Some(vec!["a.csv".into()]), ..Manifest::default() };
        assert_eq!(manifest.into_request(merchant, &key).files, Some(vec![format!("stage/{M}/b1/a.csv")]));
        assert_eq!(Manifest::default().into_request(merchant, &key).prefix, Some(format!("stage/{M}/b1/")));
        let escape = Manifest { files: Some(vec!["../x.csv".into()]), ..Manifest::default() };
        assert!(escape.into_request(merchant, &key).check().is_err());
    }
}
