//! An object of the bucket in one version.

/// An object as it was when it was frozen: what is uploaded later under its key belongs to later jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenObject {
    /// Its key in the bucket.
    pub key: String,
    /// `None` in a bucket without versions, where the etag pins it.
    pub version_id: Option<String>,
    /// S3's entity tag, in quotes; empty: there is no such object.
    pub etag: String,
    /// Its size.
    pub bytes: i64,
}

impl FrozenObject {
    /// The place of an object that does not exist.
    pub fn missing(key: String) -> Self {
        Self { key, version_id: None, etag: String::new(), bytes: 0 }
    }

    /// Whether there was no such object.
    pub fn is_missing(&self) -> bool {
        self.etag.is_empty()
    }
}

/// The version of an object that was checked when its upload was completed. Imports read no other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// `None` in a bucket without versions.
    pub version_id: Option<String>,
    /// S3's entity tag, in quotes.
    pub etag: String,
}

/// A source whose objects are known, each in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenSource {
    /// In order of their keys.
    pub objects: Vec<FrozenObject>,
    /// What lay beside them and was passed over.
    pub passed_over: Vec<String>,
    /// Names these objects with this mapping.
    pub fingerprint: String,
}
