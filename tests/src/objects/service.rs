//! The S3 operations on the store.

use super::BUCKET;
use super::body::Body;
use super::store::{ReadFault, Store, Version, etag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumMode, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    ListPartsInput, ListPartsOutput, Object as Listed, Part, PutObjectInput, PutObjectOutput, StorageClass,
    StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

const PIECE: u64 = 128 * 1024;

/// The S3 service on the store.
pub(super) struct Service(pub(super) Arc<Mutex<Store>>);

impl Service {
    fn find(&self, bucket: &str, key: &str, version: Option<&String>) -> S3Result<Version> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let store = self.0.lock().map_err(|_| s3_error!(InternalError))?;
        let versions = store.keys.get(key).ok_or_else(|| s3_error!(NoSuchKey))?;
        match version {
            None => versions.last().cloned().ok_or_else(|| s3_error!(NoSuchKey)),
            Some(id) => {
                versions.iter().find(|v| v.id == *id).cloned().ok_or_else(|| s3_error!(NoSuchVersion))
            }
        }
    }

    fn lock(&self) -> S3Result<MutexGuard<'_, Store>> {
        self.0.lock().map_err(|_| s3_error!(InternalError))
    }

    /// The fault of the next read.
    fn next_fault(&self, key: &str) -> S3Result<ReadFault> {
        let mut store = self.0.lock().map_err(|_| s3_error!(InternalError))?;
        *store.reads.entry(key.to_owned()).or_default() += 1;
        let Some(fault) = store.faults.get_mut(key) else { return Ok(ReadFault::default()) };
        let now = fault.clone();
        if let Some((status, times)) = &mut fault.refuse
            && *times > 0
        {
            *times -= 1;
            let code = if *status == 403 { S3ErrorCode::AccessDenied } else { S3ErrorCode::InternalError };
            let mut error = S3Error::with_message(code, "refused by the test");
            error.set_status_code(hyper::StatusCode::from_u16(*status).unwrap_or_default());
            return Err(error);
        }
        match &mut fault.break_off {
            Some((_, 0)) => Ok(ReadFault { break_off: None, ..now }),
            Some((_, times)) => {
                *times -= 1;
                Ok(now)
            }
            None => Ok(now),
        }
    }
}

async fn collected(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    let mut all = Vec::new();
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece.map_err(|_| s3_error!(IncompleteBody))?);
    }
    Ok(all.into())
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let version = self.find(&req.input.bucket, &req.input.key, req.input.version_id.as_ref())?;
        let asked =
            req.input.checksum_mode.as_ref().is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        let sha256 = match &version.body {
            Body::Bytes(bytes) if asked => Some(STANDARD.encode(Sha256::digest(bytes))),
            _ => None,
        };
        Ok(S3Response::new(HeadObjectOutput {
            content_length: i64::try_from(version.body.len()).ok(),
            e_tag: Some(ETag::Strong(version.etag)),
            version_id: Some(version.id),
            storage_class: version.is_archived.then(|| StorageClass::from_static(StorageClass::GLACIER)),
            last_modified: Some(Timestamp::from(SystemTime::now())),
            checksum_sha256: sha256.clone(),
            checksum_type: sha256.map(|_| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let version = self.find(&req.input.bucket, &req.input.key, req.input.version_id.as_ref())?;
        if let Some(ETagCondition::ETag(wanted)) = &req.input.if_match
            && wanted.value() != version.etag
        {
            return Err(s3_error!(PreconditionFailed));
        }
        if version.is_archived {
            let says = "The operation is not valid for the object's storage class";
            return Err(S3Error::with_message(S3ErrorCode::InvalidObjectState, says));
        }
        let fault = self.next_fault(&req.input.key)?;
        let whole = version.body.len();
        let range = match &req.input.range {
            Some(range) => range.check(whole)?,
            None => 0..whole,
        };
        let content_range =
            req.input.range.is_some().then(|| format!("bytes {}-{}/{whole}", range.start, range.end - 1));
        Ok(S3Response::new(GetObjectOutput {
            content_length: i64::try_from(range.end - range.start).ok(),
            content_range,
            e_tag: Some(ETag::Strong(version.etag)),
            version_id: Some(version.id),
            last_modified: Some(Timestamp::from(SystemTime::now())),
            body: Some(stream_of(version.body, range, fault)),
            ..GetObjectOutput::default()
        }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let body = collected(req.input.body).await?;
        let mut store = self.lock()?;
        if store.refuses_writes {
            return Err(s3_error!(InternalError));
        }
        store.check_condition(&req.input.key, req.input.if_none_match.as_ref())?;
        let version = store.put(&req.input.key, body.into());
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(version.etag)),
            version_id: Some(version.id),
            ..PutObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let mut store = self.lock()?;
        if let Some(versions) = store.keys.get_mut(&req.input.key) {
            versions.retain(|version| req.input.version_id.as_ref().is_some_and(|id| *id != version.id));
            if versions.is_empty() {
                store.keys.remove(&req.input.key);
            }
        }
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut store = self.lock()?;
        store.serial += 1;
        let id = format!("multipart-{}", store.serial);
        store.open.insert(id.clone(), (req.input.key, BTreeMap::new()));
        Ok(S3Response::new(CreateMultipartUploadOutput {
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let held = self.lock()?.hold_part();
        if let Some(mut gate) = held {
            // Dropping the sender opens the gate.
            let _ = gate.wait_for(|open| *open).await;
        }
        let body = collected(req.input.body).await?;
        let mut store = self.lock()?;
        store.serial += 1;
        let etag = etag(&format!("part {}", store.serial));
        let (_, parts) = store.open.get_mut(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        parts.insert(req.input.part_number, (etag.clone(), body));
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..UploadPartOutput::default()
        }))
    }

    /// Lists three parts a page, so that code that reads one page only fails.
    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let store = self.lock()?;
        let (_, parts) = store.open.get(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let after = req.input.part_number_marker.unwrap_or(0);
        let mut rest = parts.range(after + 1..);
        let page: Vec<Part> = rest
            .by_ref()
            .take(3)
            .map(|(number, (etag, body))| Part {
                part_number: Some(*number),
                e_tag: Some(ETag::Strong(etag.clone())),
                size: i64::try_from(body.len()).ok(),
                ..Part::default()
            })
            .collect();
        let more = rest.next().is_some();
        Ok(S3Response::new(ListPartsOutput {
            is_truncated: Some(more),
            next_part_number_marker: page.last().and_then(|part| part.part_number).filter(|_| more),
            parts: Some(page),
            ..ListPartsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let mut store = self.lock()?;
        let (_, parts) = store.open.get(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        store.check_condition(&req.input.key, req.input.if_none_match.as_ref())?;
        let mut whole = Vec::new();
        let named = req.input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        for part in named {
            let number = part.part_number.unwrap_or_default();
            let found = parts.get(&number).filter(|(etag, _)| {
                part.e_tag.as_ref().is_some_and(|wanted| wanted.value() == etag.as_str())
            });
            let (_, body) = found.ok_or_else(|| s3_error!(InvalidPart))?;
            whole.extend_from_slice(body);
        }
        store.open.remove(&req.input.upload_id);
        let version = store.put(&req.input.key, Bytes::from(whole).into());
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            e_tag: Some(ETag::Strong(version.etag)),
            version_id: Some(version.id),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        match self.lock()?.open.remove(&req.input.upload_id) {
            Some(_) => Ok(S3Response::new(AbortMultipartUploadOutput::default())),
            None => Err(s3_error!(NoSuchUpload)),
        }
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let prefix = req.input.prefix.clone().unwrap_or_default();
        let after = req.input.continuation_token.clone().unwrap_or_default();
        let page = usize::try_from(req.input.max_keys.unwrap_or(1000)).unwrap_or(1000).min(1000);
        let store = self.0.lock().map_err(|_| s3_error!(InternalError))?;
        let mut found = store.keys.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let contents: Vec<Listed> = found
            .by_ref()
            .take(page)
            .filter_map(|(key, versions)| Some((key, versions.last()?)))
            .map(|(key, version)| Listed {
                key: Some(key.clone()),
                size: i64::try_from(version.body.len()).ok(),
                e_tag: Some(ETag::Strong(version.etag.clone())),
                ..Listed::default()
            })
            .collect();
        let more = found.next().is_some();
        let next = contents.last().and_then(|object| object.key.clone()).filter(|_| more);
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(contents.len()).ok(),
            contents: Some(contents),
            is_truncated: Some(more),
            next_continuation_token: next,
            ..ListObjectsV2Output::default()
        }))
    }
}

fn stream_of(body: Body, range: Range<u64>, fault: ReadFault) -> StreamingBlob {
    let breaks_at = fault.break_off.map(|(after, _)| range.start + after);
    StreamingBlob::wrap(stream::unfold(range.start, move |at| {
        let (body, mut gate, slow) = (body.clone(), fault.gate.clone(), fault.slow);
        async move {
            if at >= range.end {
                return None;
            }
            if breaks_at.is_some_and(|breaks| at >= breaks) {
                return Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), range.end));
            }
            if let Some(slow) = slow {
                tokio::time::sleep(slow).await;
            }
            let mut until = range.end.min(at + PIECE);
            if let Some(breaks) = breaks_at {
                until = until.min(breaks);
            }
            if let Some((gated, open)) = &mut gate {
                if at < *gated {
                    until = until.min(*gated);
                } else {
                    // Dropping the sender opens the gate.
                    let _ = open.wait_for(|open| *open).await;
                }
            }
            Some((body.read(at..until), until))
        }
    }))
}
