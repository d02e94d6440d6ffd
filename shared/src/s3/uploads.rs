//! Uploads by signed links: a link takes one object of one size for a short time. Completing an upload checks its parts.

use super::objects::{Objects, is_missing, s3_error, status};
use crate::domain::object::FrozenObject;
use crate::domain::step::{StepError, StepResult};
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use std::time::Duration;

/// The header, name and value, that a PUT to a link must have: S3 answers 412 if the key has an object already (Amazon S3
/// User Guide, "How to prevent object overwrites with conditional writes").
pub const ONCE: (&str, &str) = ("if-none-match", "*");

/// A part of a multipart upload as S3 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: i32,
    /// As S3 writes it, in quotes.
    pub etag: String,
    /// Its size.
    pub bytes: i64,
}

impl Objects {
    /// Signs a link that takes one object of exactly so many bytes, once: length and `ONCE` are signed.
    pub async fn put_link(&self, key: &str, bytes: u64, lifetime: Duration) -> StepResult<String> {
        let request = self
            .client()
            .put_object()
            .bucket(self.bucket())
            .key(key)
            .content_length(signed(bytes)?)
            .if_none_match(ONCE.1);
        // The body does not exist yet, so its checksum can't be signed.
        let plain = aws_sdk_s3::config::Config::builder()
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        let link = request.customize().config_override(plain).presigned(signature(lifetime)?).await;
        Ok(link.map_err(|error| s3_error("signing a link for", key, error))?.uri().to_owned())
    }

    /// Signs a link for one part.
    pub async fn part_link(
        &self,
        key: &str,
        multipart_id: &str,
        number: i32,
        bytes: u64,
        lifetime: Duration,
    ) -> StepResult<String> {
        let request = self
            .client()
            .upload_part()
            .bucket(self.bucket())
            .key(key)
            .upload_id(multipart_id)
            .part_number(number)
            .content_length(signed(bytes)?);
        let plain = aws_sdk_s3::config::Config::builder()
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        let link = request.customize().config_override(plain).presigned(signature(lifetime)?).await;
        Ok(link.map_err(|error| s3_error("signing a link for", key, error))?.uri().to_owned())
    }

    /// Begins a multipart upload, and returns S3's id of it.
    pub async fn begin_multipart(&self, key: &str) -> StepResult<String> {
        let begun = self.client().create_multipart_upload().bucket(self.bucket()).key(key).send().await;
        let begun = begun.map_err(|error| s3_error("beginning an upload to", key, error))?;
        begun.upload_id.ok_or_else(|| StepError::internal("S3 began an upload without an id"))
    }

    /// Lists the parts that have arrived, in order. `None`: there is no such upload any more.
    pub async fn parts(&self, key: &str, multipart_id: &str) -> StepResult<Option<Vec<Part>>> {
        let request = self.client().list_parts().bucket(self.bucket()).key(key).upload_id(multipart_id);
        let mut pages = request.into_paginator().send();
        let mut parts = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) if is_missing(&error) => return Ok(None),
                Err(error) => return Err(s3_error("looking at the parts of", key, error)),
            };
            parts.extend(page.parts().iter().map(|part| Part {
                number: part.part_number().unwrap_or_default(),
                etag: part.e_tag().unwrap_or_default().to_owned(),
                bytes: part.size().unwrap_or_default(),
            }));
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(Some(parts))
    }

    /// Makes the object of its parts. `false`: there is no such upload any more, or the key has an object already; then the
    /// parts are removed.
    pub async fn join(&self, key: &str, multipart_id: &str, parts: &[Part]) -> StepResult<bool> {
        let parts = parts
            .iter()
            .map(|part| CompletedPart::builder().part_number(part.number).e_tag(&part.etag).build())
            .collect();
        let joined = self
            .client()
            .complete_multipart_upload()
            .bucket(self.bucket())
            .key(key)
            .upload_id(multipart_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .if_none_match(ONCE.1)
            .send()
            .await;
        match joined {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) if status(&error) == Some(412) => {
                self.abort(key, multipart_id).await?;
                Ok(false)
            }
            Err(error) => Err(s3_error("completing", key, error)),
        }
    }

    /// Removes all parts of an upload. One that is over has none.
    pub async fn abort(&self, key: &str, multipart_id: &str) -> StepResult<()> {
        let aborted = self
            .client()
            .abort_multipart_upload()
            .bucket(self.bucket())
            .key(key)
            .upload_id(multipart_id)
            .send()
            .await;
        match aborted {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(s3_error("giving up", key, error)),
        }
    }

    /// Removes this version of the object.
    pub async fn remove(&self, object: &FrozenObject) -> StepResult<()> {
        let removed = self
            .client()
            .delete_object()
            .bucket(self.bucket())
            .key(&object.key)
            .set_version_id(object.version_id.clone())
            .send()
            .await;
        match removed {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(s3_error("removing", &object.key, error)),
        }
    }
}

fn signed(bytes: u64) -> StepResult<i64> {
    i64::try_from(bytes).map_err(|_| StepError::internal("a size beyond 63 bits"))
}

fn signature(lifetime: Duration) -> StepResult<PresigningConfig> {
    PresigningConfig::expires_in(lifetime).map_err(|error| StepError::internal(error.to_string()))
}
