//! Uploads that were completed: an import reads the version that was checked then, whatever is put under the key later.

use crate::db::{Database, uploads};
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::object::{FrozenObject, Pin};
use crate::domain::step::StepResult;
use crate::s3::objects::Objects;
use std::collections::BTreeMap;

/// The completed uploads among some keys.
#[derive(Debug)]
pub struct Completed(BTreeMap<String, Pin>);

impl Completed {
    /// Finds those among these keys. Only keys under `uploads/` can be.
    pub async fn find(db: &Database, keys: impl Iterator<Item = &str>) -> StepResult<Self> {
        let keys: Vec<&str> = keys.filter(|key| key.starts_with("uploads/")).collect();
        if keys.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        Ok(Self(uploads::find_completed(&db.connection().await?, &keys).await?))
    }

    /// The version of this key that was completed, if it was and the bucket keeps versions.
    pub fn version_of(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.version_id.as_deref()
    }

    /// Looks an object up: the version that was completed, else the one that is asked for, else the newest. The outer error
    /// is S3's, the inner one the object's.
    pub async fn head(
        &self,
        objects: &Objects,
        key: &str,
        version: Option<&str>,
    ) -> StepResult<Result<FrozenObject, Fault>> {
        let object = objects.head(key, self.version_of(key).or(version)).await?;
        Ok(object.and_then(|object| self.check(object)))
    }

    /// A bucket without versions may hold another object by now.
    fn check(&self, object: FrozenObject) -> Result<FrozenObject, Fault> {
        match self.0.get(&object.key) {
            Some(pin) if pin.etag != object.etag => {
                Err(Fault::new(FaultReason::MissingObject, "it was replaced after its upload was completed"))
            }
            _ => Ok(object),
        }
    }
}
