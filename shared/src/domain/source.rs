//! What an import is asked to read: requests, manifests, and the input of an execution, parsed and checked.

use super::field::{Field, Mapping};
use super::ids::MerchantId;
use super::json::escape_pointer;
use super::key::{self, KeyError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// More files than this are refused: split the batch.
pub const MAX_FILES: usize = 2000;
/// How many keys `source` shows of a request; `GET /imports/{id}/files` lists all files.
pub const SHOWN_KEYS: usize = 20;

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
    /// Whose codes are imported.
    pub merchant_id: MerchantId,
    /// The keys of the files; or give `prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// Every object under this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Headers that are not recognised by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
    /// Bounds of the import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
}

/// The objects of an import: named, or everything under a prefix when the job opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These keys.
    Files(Vec<String>),
    /// Every object under this prefix.
    Prefix(String),
}

/// A start request whose every part has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Whose codes are imported.
    pub merchant: MerchantId,
    /// The objects.
    pub selection: Selection,
    /// Headers that are not recognised by their names.
    pub mapping: Mapping,
    /// Bounds of the import.
    pub options: Options,
}

/// Why a request can't be carried out. `Display` is for the person who sent it.
#[derive(Debug, Clone, PartialEq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
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
    #[error("mapping: `{0}` is not a field; fields are {fields}", fields = Field::NAMES.join(", "))]
    UnknownField(String),
    #[error("mapping: the header for `{0}` is empty or longer than 255 bytes")]
    BadHeader(String),
    #[error("mapping: `{0}` and `{1}` name the same header; one column can fill one field")]
    SameHeader(String, String),
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
            Self::UnknownField(field) | Self::BadHeader(field) | Self::SameHeader(_, field) => {
                format!("/mapping/{}", escape_pointer(field))
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
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for (field, header) in mapping {
        if Field::by_name(field).is_none() {
            return Err(SourceError::UnknownField(field.clone()));
        }
        if header.trim().is_empty() || header.len() > 255 {
            return Err(SourceError::BadHeader(field.clone()));
        }
        // Headers in other letters may be two columns: which ones, each file says.
        if let Some(other) = fields.insert(header.trim(), field) {
            return Err(SourceError::SameHeader(other.to_owned(), field.clone()));
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

/// The door that an import came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// `POST /imports/queue-processing`.
    QueueProcessing,
    /// `POST /migrations/run`.
    RunMigration,
    /// An upload.
    S3,
    /// `start-execution` by hand.
    Execution,
    /// None of ours: the application's scripts made it before the adoption of its table.
    Adoption,
}

impl Door {
    /// Its name in `source_info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueProcessing => "queue-processing",
            Self::RunMigration => "run-migration",
            Self::S3 => "s3",
            Self::Execution => "execution",
            Self::Adoption => "adoption",
        }
    }
}

/// `codes_import_jobs.source_info`: what was asked, and through which door.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// The door that it came through; `None` in a row that was written by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<Door>,
    /// The version of a single file, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The key of the manifest that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The version of that manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_version: Option<String>,
    /// Why the request can't be read. Repeating it, which a retry does, says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What lay beside the files and was passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
    /// How many keys the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_count: Option<usize>,
    /// The request as it was sent, with its first keys.
    #[serde(flatten)]
    pub request: serde_json::Map<String, serde_json::Value>,
}

impl SourceInfo {
    /// Nothing but the door.
    pub fn new(door: Door) -> Self {
        Self { door: Some(door), ..Self::default() }
    }

    /// The door and the members of a request, of its keys the first. Anything but an object has none.
    pub fn of_request(door: Door, request: serde_json::Value) -> Self {
        let mut info = Self::new(door);
        if let serde_json::Value::Object(members) = request {
            info.request = members.into_iter().filter(|(_, value)| !value.is_null()).collect();
        }
        if let Some(serde_json::Value::Array(keys)) = info.request.get_mut("files") {
            info.file_count = Some(keys.len());
            keys.truncate(SHOWN_KEYS);
        }
        info
    }
}
