//! Uploads a gzip file: compressed while it is written, sent in parts, visible as a whole or not at all.

use super::objects::{Objects, s3_error};
use crate::domain::step::{StepError, StepResult};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use tokio::task::JoinHandle;

/// S3 takes 10,000 parts of at least 5 MiB (Amazon S3 User Guide, "multipart upload limits"): 80 GB of gzip.
const PART_BYTES: usize = 8 * 1024 * 1024;
const CONTENT_TYPE: &str = "application/gzip";

/// A file that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Its size, compressed.
    pub bytes: i64,
}

/// A file that is being written. Nobody sees it before it is finished. If it is dropped without `abort`, the bucket's
/// lifecycle removes its parts.
pub struct GzipUpload {
    objects: Objects,
    key: String,
    encoder: GzEncoder<Vec<u8>>,
    upload_id: Option<String>,
    parts: Vec<CompletedPart>,
    /// One part is sent while the next is compressed.
    sending: Option<JoinHandle<StepResult<CompletedPart>>>,
    bytes: i64,
}

/// Level 2: a third more time than level 1 for a file that is a third smaller; more pays no longer.
fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::new(2))
}

impl GzipUpload {
    /// A file that will have this key.
    pub fn new(objects: &Objects, key: impl Into<String>) -> Self {
        Self {
            objects: objects.clone(),
            key: key.into(),
            encoder: encoder(),
            upload_id: None,
            parts: Vec::new(),
            sending: None,
            bytes: 0,
        }
    }

    /// Appends to the file. Waits while the part before is being sent.
    pub async fn write(&mut self, data: &[u8]) -> StepResult<()> {
        self.encoder.write_all(data).map_err(|error| StepError::internal(format!("gzip: {error}")))?;
        if self.encoder.get_ref().len() >= PART_BYTES {
            let part = std::mem::replace(self.encoder.get_mut(), Vec::with_capacity(PART_BYTES + 64 * 1024));
            self.send(part).await?;
        }
        Ok(())
    }

    /// Sends the rest and publishes the file.
    pub async fn finish(self) -> StepResult<Stored> {
        self.close().await?.publish().await
    }

    /// Sends the rest. The file is complete, but nobody sees it yet.
    pub async fn close(mut self) -> StepResult<Closed> {
        match self.send_rest().await {
            Ok(whole) => Ok(Closed { upload: self, whole }),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    /// Sends what is left. Returns the whole file if it is small enough to be sent at once.
    async fn send_rest(&mut self) -> StepResult<Option<Vec<u8>>> {
        let encoder = std::mem::replace(&mut self.encoder, encoder());
        let rest = encoder.finish().map_err(|error| StepError::internal(format!("gzip: {error}")))?;
        if self.upload_id.is_none() {
            self.bytes = length(&rest);
            return Ok(Some(rest));
        }
        // The last part may be of any size, and a gzip stream ends in a trailer, so it is never empty.
        self.send(rest).await?;
        self.sent().await?;
        Ok(None)
    }

    async fn complete(&mut self, whole: Option<Vec<u8>>) -> StepResult<()> {
        if let Some(whole) = whole {
            return self.put(whole).await;
        }
        let parts =
            CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts))).build();
        let completed = self
            .objects
            .client()
            .complete_multipart_upload()
            .bucket(self.objects.bucket())
            .key(&self.key)
            .set_upload_id(self.upload_id.clone())
            .multipart_upload(parts)
            .send()
            .await;
        completed.map(drop).map_err(|error| s3_error("completing", &self.key, error))
    }

    /// Gives the file up. An older file under its key stays.
    pub async fn abort(mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
        let Some(id) = self.upload_id.take() else { return };
        let (client, bucket) = (self.objects.client(), self.objects.bucket());
        let aborted =
            client.abort_multipart_upload().bucket(bucket).key(&self.key).upload_id(id).send().await;
        if let Err(error) = aborted {
            let error = s3_error("giving up", &self.key, error);
            tracing::warn!(%error, "an upload's parts are left to the bucket's lifecycle");
        }
    }

    async fn put(&self, body: Vec<u8>) -> StepResult<()> {
        let put = self
            .objects
            .client()
            .put_object()
            .bucket(self.objects.bucket())
            .key(&self.key)
            .content_type(CONTENT_TYPE)
            .body(body.into())
            .send()
            .await;
        put.map(drop).map_err(|error| s3_error("writing", &self.key, error))
    }

    async fn send(&mut self, part: Vec<u8>) -> StepResult<()> {
        let id = match &self.upload_id {
            Some(id) => id.clone(),
            None => {
                let (client, bucket) = (self.objects.client(), self.objects.bucket());
                let created = client
                    .create_multipart_upload()
                    .bucket(bucket)
                    .key(&self.key)
                    .content_type(CONTENT_TYPE)
                    .send()
                    .await
                    .map_err(|error| s3_error("beginning", &self.key, error))?;
                let id = created.upload_id().unwrap_or_default().to_owned();
                self.upload_id = Some(id.clone());
                id
            }
        };
        self.sent().await?;
        self.bytes += length(&part);
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let (objects, key) = (self.objects.clone(), self.key.clone());
        self.sending = Some(tokio::spawn(async move {
            let sent = objects
                .client()
                .upload_part()
                .bucket(objects.bucket())
                .key(&key)
                .upload_id(id)
                .part_number(number)
                .body(Bytes::from(part).into())
                .send()
                .await
                .map_err(|error| s3_error("writing", &key, error))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_crc32(sent.checksum_crc32)
                .build())
        }));
        Ok(())
    }

    /// Waits for the part that is being sent.
    async fn sent(&mut self) -> StepResult<()> {
        if let Some(sending) = self.sending.take() {
            let part = sending.await.map_err(|error| StepError::internal(format!("an upload: {error}")))?;
            self.parts.push(part?);
        }
        Ok(())
    }
}

/// A complete file that nobody sees yet.
pub struct Closed {
    upload: GzipUpload,
    /// The bytes of a file that is small enough to be sent at once.
    whole: Option<Vec<u8>>,
}

impl Closed {
    /// Makes the file visible.
    pub async fn publish(mut self) -> StepResult<Stored> {
        match self.upload.complete(self.whole.take()).await {
            Ok(()) => Ok(Stored { key: self.upload.key, bytes: self.upload.bytes }),
            Err(error) => {
                self.upload.abort().await;
                Err(error)
            }
        }
    }

    /// Gives the file up. An older file under its key stays.
    pub async fn abort(self) {
        self.upload.abort().await;
    }
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}
