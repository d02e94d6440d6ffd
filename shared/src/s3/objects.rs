//! Objects in the bucket: listing them, reading a range, and streaming one to its end even when S3 breaks off.

use crate::domain::fault::{Fault, FaultReason};
use crate::domain::object::FrozenObject;
use crate::domain::step::{StepError, StepErrorKind, StepResult};
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use bytes::Bytes;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// The bucket of the bundle. It is configuration, never input.
#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
    bucket: String,
}

/// How often a stream that makes no headway is resumed.
const RESUMES: u32 = 8;
/// After so long without a byte, a stream counts as broken off.
const SILENCE: Duration = Duration::from_secs(20);

impl Objects {
    /// The objects of this bucket.
    pub fn new(aws: &SdkConfig, bucket: &str) -> Self {
        let config = aws_sdk_s3::config::Builder::from(aws)
            // Ranges carry no checksum; what is staged is verified by the accounting.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(aws.endpoint_url().is_some())
            .build();
        Self { client: Client::from_conf(config), bucket: bucket.to_owned() }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Looks an object up: the version that is asked for, else the newest. The outer error is S3's, the inner one the
    /// object's.
    pub async fn head(&self, key: &str, version_id: Option<&str>) -> StepResult<Result<FrozenObject, Fault>> {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .set_version_id(version_id.map(str::to_owned))
            .send()
            .await;
        match head {
            Ok(head) => Ok(Ok(frozen(key, &head))),
            Err(error) => match fault_of(&error) {
                Some(fault) => Ok(Err(fault)),
                None => Err(s3_error("looking at", key, error)),
            },
        }
    }

    /// Looks an object up as `head` does, with S3's checksum of the whole object, if it has one.
    pub async fn head_checksum(
        &self,
        key: &str,
        version_id: Option<&str>,
    ) -> StepResult<Option<(FrozenObject, Option<String>)>> {
        let head = self.client.head_object().bucket(&self.bucket).key(key);
        let head = head.set_version_id(version_id.map(str::to_owned));
        match head.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(head) => {
                let whole = !matches!(head.checksum_type(), Some(ChecksumType::Composite));
                let sums = [
                    ("crc64nvme", head.checksum_crc64_nvme()),
                    ("sha256", head.checksum_sha256()),
                    ("sha1", head.checksum_sha1()),
                    ("crc32c", head.checksum_crc32_c()),
                    ("crc32", head.checksum_crc32()),
                ];
                let sum = sums.into_iter().find_map(|(name, sum)| Some(format!("{name}:{}", sum?)));
                Ok(Some((frozen(key, &head), sum.filter(|_| whole))))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(s3_error("looking at", key, error)),
        }
    }

    /// Lists the keys under a prefix that are wanted, in order: at most `limit + 1`, so that a caller can tell that there
    /// are too many.
    pub async fn list(
        &self,
        prefix: &str,
        limit: usize,
        mut is_wanted: impl FnMut(&str) -> bool,
    ) -> StepResult<Vec<String>> {
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| s3_error("listing", prefix, error))?;
            keys.extend(
                page.contents()
                    .iter()
                    .filter_map(|o| o.key())
                    .filter(|key| is_wanted(key))
                    .map(str::to_owned),
            );
            if keys.len() > limit {
                keys.truncate(limit + 1);
                break;
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Signs a link that lets its holder fetch the object for a while, as a file of that name.
    pub async fn link(&self, key: &str, name: &str, valid: Duration) -> StepResult<String> {
        let failed = |error: String| StepError::internal(format!("no link to {key}: {error}"));
        let config = PresigningConfig::expires_in(valid).map_err(|error| failed(error.to_string()))?;
        let plain: String =
            name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .response_content_disposition(format!("attachment; filename=\"{plain}\""))
            .presigned(config)
            .await;
        Ok(request.map_err(|error| s3_error("linking to", key, error))?.uri().to_owned())
    }

    /// Reads a range of bytes; fewer where the object ends. The outer error is S3's, the inner one the object's.
    pub async fn range(
        &self,
        object: &FrozenObject,
        range: RangeInclusive<i64>,
    ) -> StepResult<Result<Bytes, Fault>> {
        if object.bytes == 0 {
            return Ok(Ok(Bytes::new()));
        }
        let mut last = None;
        for attempt in 0..3 {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
            }
            let read = async {
                let got = match self.get(object, &format!("bytes={}-{}", range.start(), range.end())).await {
                    Ok(got) => got,
                    Err(error) => {
                        let fault = fault_of(&error);
                        return fault.map(Err).ok_or_else(|| s3_error("reading", &object.key, error));
                    }
                };
                let body = got.body.collect().await;
                body.map(|body| Ok(body.into_bytes())).map_err(|error| {
                    StepError::with_source(
                        StepErrorKind::Transient,
                        format!("reading {} broke off", object.key),
                        error,
                    )
                })
            };
            match read.await {
                Ok(read) => return Ok(read),
                Err(error) if error.kind == StepErrorKind::Transient => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| StepError::internal("no attempt was made")))
    }

    async fn get(
        &self,
        object: &FrozenObject,
        range: &str,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError>> {
        self.client
            .get_object()
            .bucket(&self.bucket)
            .key(&object.key)
            .set_version_id(object.version_id.clone())
            // Without versions the etag pins what was frozen.
            .if_match(&object.etag)
            .range(range)
            .send()
            .await
    }

    /// Reads a whole object that is small, such as a manifest.
    pub async fn read(&self, object: &FrozenObject) -> StepResult<Result<Bytes, Fault>> {
        self.range(object, 0..=object.bytes.max(1) - 1).await
    }

    /// Streams the whole object, piece by piece. Resumes where S3 breaks off, as long as it makes headway. `received` counts
    /// the bytes that have arrived.
    pub fn stream(
        &self,
        object: &FrozenObject,
        received: Arc<AtomicI64>,
    ) -> mpsc::Receiver<std::io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(16);
        let (objects, object) = (self.clone(), object.clone());
        tokio::spawn(async move {
            if let Err(error) = objects.pump(&object, &received, &sender).await {
                // Nobody listens: the load was given up, and so is this.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }

    async fn pump(
        &self,
        object: &FrozenObject,
        received: &AtomicI64,
        sender: &mpsc::Sender<std::io::Result<Bytes>>,
    ) -> std::io::Result<()> {
        let (mut at, mut stalled) = (0i64, 0u32);
        while at < object.bytes {
            let before = at;
            let broke_off = match self.get(object, &format!("bytes={at}-")).await {
                Ok(got) => {
                    let mut body = got.body;
                    loop {
                        match tokio::time::timeout(SILENCE, body.next()).await {
                            Ok(Some(Ok(chunk))) => {
                                at += i64::try_from(chunk.len()).unwrap_or(0);
                                received.store(at, Ordering::Relaxed);
                                if sender.send(Ok(chunk)).await.is_err() {
                                    return Ok(());
                                }
                            }
                            Ok(None) => break format!("after {at} of {} bytes", object.bytes),
                            Ok(Some(Err(error))) => break DisplayErrorContext(error).to_string(),
                            Err(_) => break format!("silent for {} s", SILENCE.as_secs()),
                        }
                    }
                }
                Err(error) => match fault_of(&error) {
                    Some(fault) => return Err(std::io::Error::other(fault)),
                    None => DisplayErrorContext(error).to_string(),
                },
            };
            if at >= object.bytes {
                break;
            }
            stalled = if at > before { 0 } else { stalled + 1 };
            if stalled > RESUMES {
                let message = format!("S3 broke off at byte {at} again and again: {broke_off}");
                return Err(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, message));
            }
            tracing::warn!(key = %object.key, at, %broke_off, "S3 broke off, resuming");
            tokio::time::sleep(Duration::from_millis(100 * u64::from(1u32 << stalled.min(5)))).await;
        }
        Ok(())
    }
}

pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn frozen(key: &str, head: &HeadObjectOutput) -> FrozenObject {
    FrozenObject {
        key: key.to_owned(),
        version_id: head.version_id().filter(|v| *v != "null").map(str::to_owned),
        etag: head.e_tag().unwrap_or_default().to_owned(),
        bytes: head.content_length().unwrap_or_default(),
    }
}

/// The fault of the object that an error speaks of, if it speaks of one.
fn fault_of<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<Fault> {
    let fault = |reason, detail: &str| Some(Fault::new(reason, detail));
    match status(error) {
        _ if is_missing(error) => fault(FaultReason::MissingObject, "there is no such object"),
        // Without versions, another object lies there by now.
        Some(412) => {
            fault(FaultReason::MissingObject, "it is no longer there in the version that was frozen")
        }
        Some(403) if error.code() == Some("InvalidObjectState") => fault(
            FaultReason::ArchivedObject,
            "its storage class keeps it from being read before it is restored",
        ),
        // A body names the reason; the answer to HEAD has none.
        Some(403) if matches!(error.code(), None | Some("AccessDenied" | "Forbidden")) => {
            fault(FaultReason::AccessDenied, "S3 refuses to hand it out (403 AccessDenied)")
        }
        _ => None,
    }
}

pub(super) fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    status(error) == Some(404)
        || matches!(error.code(), Some("NoSuchKey" | "NotFound" | "NoSuchVersion" | "NoSuchUpload"))
}

pub(super) fn s3_error<E>(doing: &str, key: &str, error: SdkError<E>) -> StepError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let kind = match status(&error) {
        Some(403) => StepErrorKind::InvalidInput,
        _ if is_missing(&error) => StepErrorKind::InvalidInput,
        _ => StepErrorKind::Transient,
    };
    let message = match status(&error) {
        Some(code) => format!("{doing} {key}: S3 answered {code} {}", error.code().unwrap_or_default()),
        None => format!("{doing} {key}: S3 could not be reached"),
    };
    StepError::with_source(kind, message, error)
}
