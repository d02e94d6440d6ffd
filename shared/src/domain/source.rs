//! What an import is asked to read: the doors of the state machine, parsed and checked.

use super::ids::{JobId, MerchantId};
use super::key::{self, KeyError};
use super::layout::Field;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// More files than this are refused: split the batch.
pub const MAX_FILES: usize = 2000;

/// `target field -> source header`, as the caller wrote it. Sorted, so that equal mappings hash equally.
pub type Mapping = BTreeMap<String, String>;

/// `options` of a start request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct Options {
    /// Above this share of duplicates the approval must say `accept_duplicates`. 0 to 1.
    pub max_duplicate_ratio: f64,
    /// More rejected records than this in one file fail the file.
    pub max_rejects: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_duplicate_ratio: 0.5, max_rejects: 100_000 }
    }
}

impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// By name only: what serde derives would also take the members in order from an array.
impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Options;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Options, A::Error> {
                Options::deserialize(MapAccessDeserializer::new(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The body of every request that starts an import: HTTP, by hand, or a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    pub merchant_id: MerchantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
}

/// `stage/{merchant}/{batch}/manifest.json`. Names are relative to the batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    #[serde(default)]
    pub files: Option<Vec<String>>,
    #[serde(default)]
    pub mapping: Option<Mapping>,
    #[serde(default)]
    pub options: Option<Options>,
}

/// Which objects: named, or whatever is under a prefix when the job opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    Files(Vec<String>),
    Prefix(String),
}

/// A start request whose every part has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub merchant: MerchantId,
    pub selection: Selection,
    pub mapping: Mapping,
    pub options: Options,
}

/// Why a request can't be carried out. `Display` is for the person who sent it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SourceError {
    #[error("give either `files` or `prefix`, not {0}")]
    Selection(&'static str),
    #[error("`files` is empty")]
    NoFiles,
    #[error("`files` names {0} objects; {MAX_FILES} is the most that one job takes: split the batch")]
    TooManyFiles(usize),
    #[error("`files` names `{0}` twice")]
    RepeatedFile(String),
    #[error("{1}")]
    File(usize, KeyError),
    #[error(transparent)]
    Prefix(#[from] KeyError),
    #[error("mapping: `{0}` is not a field; fields are {fields}", fields = Field::names())]
    UnknownField(String),
    #[error("mapping: the header for `{0}` is empty or longer than 255 bytes")]
    BadHeader(String),
    #[error("options: `max_duplicate_ratio` must be between 0 and 1")]
    Ratio,
    #[error("options: `max_rejects` must be at most 10,000,000")]
    Rejects,
}

impl SourceError {
    /// The member of the request that is wrong, as a JSON pointer (RFC 6901).
    pub fn pointer(&self) -> String {
        match self {
            Self::Selection(_) => String::new(),
            Self::NoFiles | Self::TooManyFiles(_) | Self::RepeatedFile(_) => "/files".into(),
            Self::File(index, _) => format!("/files/{index}"),
            Self::Prefix(_) => "/prefix".into(),
            Self::UnknownField(field) | Self::BadHeader(field) => {
                format!("/mapping/{}", field.replace('~', "~0").replace('/', "~1"))
            }
            Self::Ratio => "/options/max_duplicate_ratio".into(),
            Self::Rejects => "/options/max_rejects".into(),
        }
    }
}

impl StartRequest {
    /// Checks every part of the request.
    pub fn check(&self) -> Result<Source, SourceError> {
        let merchant = self.merchant_id;
        let selection = match (&self.files, &self.prefix) {
            (Some(_), Some(_)) => return Err(SourceError::Selection("both")),
            (None, None) => return Err(SourceError::Selection("neither")),
            (Some(files), None) => {
                check_files(files)?;
                for (index, file) in files.iter().enumerate() {
                    key::check_key(merchant, file).map_err(|error| SourceError::File(index, error))?;
                }
                Selection::Files(files.clone())
            }
            (None, Some(prefix)) => {
                key::check_prefix(merchant, prefix)?;
                Selection::Prefix(prefix.clone())
            }
        };
        let mapping = self.mapping.clone().unwrap_or_default();
        check_mapping(&mapping)?;
        let options = self.options.unwrap_or_default();
        check_options(&options)?;
        Ok(Source { merchant, selection, mapping, options })
    }
}

impl Manifest {
    /// The request that a manifest stands for. `key` is the manifest's own, under `stage/{merchant}/{batch}/`.
    pub fn request(self, merchant: MerchantId, key: &str) -> StartRequest {
        let batch = key.strip_suffix("manifest.json").unwrap_or(key).to_owned();
        let (files, prefix) = match self.files {
            Some(names) => (Some(names.iter().map(|name| format!("{batch}{name}")).collect()), None),
            None => (None, Some(batch)),
        };
        StartRequest { merchant_id: merchant, files, prefix, mapping: self.mapping, options: self.options }
    }
}

fn check_files(files: &[String]) -> Result<(), SourceError> {
    match files.len() {
        0 => return Err(SourceError::NoFiles),
        n if n > MAX_FILES => return Err(SourceError::TooManyFiles(n)),
        _ => {}
    }
    let mut sorted: Vec<&String> = files.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(SourceError::RepeatedFile(pair[0].clone())),
        None => Ok(()),
    }
}

fn check_mapping(mapping: &Mapping) -> Result<(), SourceError> {
    for (field, header) in mapping {
        if Field::by_name(field).is_none() {
            return Err(SourceError::UnknownField(field.clone()));
        }
        if header.trim().is_empty() || header.len() > 255 {
            return Err(SourceError::BadHeader(field.clone()));
        }
    }
    Ok(())
}

fn check_options(options: &Options) -> Result<(), SourceError> {
    if !(0.0..=1.0).contains(&options.max_duplicate_ratio) {
        return Err(SourceError::Ratio);
    }
    if options.max_rejects > 10_000_000 {
        return Err(SourceError::Rejects);
    }
    Ok(())
}

/// An S3 object as the event names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedObject {
    pub bucket: String,
    pub key: String,
    /// What makes this upload different from a later one under the same key:
    /// the version id, or where the bucket has no versions the sequencer.
    pub version: String,
    pub version_id: Option<String>,
}

/// The doors of the state machine `import`.
#[derive(Debug, Clone, PartialEq)]
pub enum Door {
    /// EventBridge says an object was created.
    Upload(UploadedObject),
    /// `start-execution` by hand.
    Request(StartRequest),
    /// We started it: HTTP, or a retry.
    Job { job: JobId, attempt: i32 },
}

/// Why an execution's input is none of the doors.
#[derive(Debug, Error)]
pub enum DoorError {
    #[error(
        "the input is neither an S3 event nor a request nor a job: expected an object with `merchant_id` and `files` or `prefix`"
    )]
    Unknown,
    #[error("the S3 event has no `{0}`")]
    Event(&'static str),
    #[error("`{path}`: {message}")]
    Field { path: String, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobInput {
    job_id: JobId,
    attempt: i32,
}

impl Door {
    /// Reads the input of an execution.
    pub fn parse(input: &serde_json::Value) -> Result<Self, DoorError> {
        let object = input.as_object().ok_or(DoorError::Unknown)?;
        if object.contains_key("detail-type") || object.contains_key("detail") {
            return upload(input).map(Self::Upload);
        }
        if object.contains_key("job_id") {
            let JobInput { job_id, attempt } = field_errors(input)?;
            return Ok(Self::Job { job: job_id, attempt });
        }
        if object.contains_key("merchant_id") {
            return field_errors(input).map(Self::Request);
        }
        Err(DoorError::Unknown)
    }
}

fn field_errors<'a, T: Deserialize<'a>>(input: &'a serde_json::Value) -> Result<T, DoorError> {
    serde_path_to_error::deserialize(input).map_err(|error| DoorError::Field {
        path: error.path().to_string(),
        message: error.inner().to_string(),
    })
}

fn upload(input: &serde_json::Value) -> Result<UploadedObject, DoorError> {
    let text =
        |pointer: &'static str| input.pointer(pointer).and_then(|v| v.as_str()).filter(|s| !s.is_empty());
    let bucket = text("/detail/bucket/name").ok_or(DoorError::Event("detail.bucket.name"))?;
    let key = text("/detail/object/key").ok_or(DoorError::Event("detail.object.key"))?;
    let version_id = text("/detail/object/version-id");
    let version = version_id
        .or_else(|| text("/detail/object/sequencer"))
        .or_else(|| text("/detail/object/etag"))
        .ok_or(DoorError::Event("detail.object.version-id"))?;
    Ok(UploadedObject {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version: version.to_owned(),
        version_id: version_id.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    const M: &str = "11112222-3333-4444-5555-666677778888";

    #[test]
    fn reads_every_door() {
        let event = json!({"detail-type": "Object Created", "detail": {"bucket": {"name": "b"},
            "object": {"key": "import/x/a.csv", "version-id": "v1", "sequencer": "00"}}});
        assert!(matches!(Door::parse(&event), Ok(Door::Upload(o)) if o.version == "v1"));
        let request = json!({"merchant_id": M, "files": [format!("uploads/{M}/a.csv")]});
        assert!(matches!(Door::parse(&request), Ok(Door::Request(_))));
        let job = json!({"job_id": M, "attempt": 2});
        assert!(matches!(Door::parse(&job), Ok(Door::Job { attempt: 2, .. })));
        for bad in [json!([]), json!({}), json!({"detail": {}}), json!({"merchant_id": "x", "files": []})] {
            assert!(Door::parse(&bad).is_err(), "{bad}");
        }
        let unknown = json!({"merchant_id": M, "prefix": "p", "options": {"max_reject": 1}});
        let error = Door::parse(&unknown).expect_err("unknown option").to_string();
        assert!(error.contains("options") && error.contains("max_reject"), "{error}");
    }

    #[test]
    fn checks_requests() {
        let merchant = MerchantId(Uuid::parse_str(M).expect("uuid"));
        let request = |files: Option<Vec<String>>, prefix: Option<String>| StartRequest {
            merchant_id: merchant,
            files,
            prefix,
            mapping: None,
            options: None,
        };
        let own = format!("stage/{M}/b/1.csv");
        assert!(request(Some(vec![own.clone()]), None).check().is_ok());
        assert_eq!(request(None, None).check(), Err(SourceError::Selection("neither")));
        assert_eq!(
            request(Some(vec![own.clone()]), Some(own.clone())).check(),
            Err(SourceError::Selection("both"))
        );
        assert_eq!(
            request(Some(vec![own.clone(), own.clone()]), None).check(),
            Err(SourceError::RepeatedFile(own.clone()))
        );
        assert_eq!(
            request(Some(vec![own.clone(); 2001]), None).check(),
            Err(SourceError::TooManyFiles(2001))
        );
        assert_eq!(request(Some(vec![]), None).check(), Err(SourceError::NoFiles));
        let mut mapped = request(Some(vec![own]), None);
        mapped.mapping = Some(Mapping::from([("colour".into(), "Colour".into())]));
        assert!(matches!(mapped.check(), Err(SourceError::UnknownField(_))));
    }

    #[test]
    fn a_manifest_names_files_of_its_batch() {
        let merchant = MerchantId(Uuid::parse_str(M).expect("uuid"));
        let key = format!("stage/{M}/b1/manifest.json");
        let manifest = Manifest { files: Some(vec!["a.csv".into()]), ..Manifest::default() };
        assert_eq!(manifest.request(merchant, &key).files, Some(vec![format!("stage/{M}/b1/a.csv")]));
        assert_eq!(Manifest::default().request(merchant, &key).prefix, Some(format!("stage/{M}/b1/")));
        let escape = Manifest { files: Some(vec!["../x.csv".into()]), ..Manifest::default() };
        assert!(escape.request(merchant, &key).check().is_err());
    }
}
