//! An S3 on a loopback port: the protocol is real (s3s, signatures included), the store keeps versions, and it can
//! be told to misbehave.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumMode, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    ListPartsInput, ListPartsOutput, Object as Listed, Part, PutObjectInput, PutObjectOutput, StreamingBlob,
    Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub const BUCKET: &str = "onceload-test";
pub const ACCESS_KEY: &str = "test";
pub const SECRET_KEY: &str = "test";
const PIECE: u64 = 128 * 1024;

/// What an object consists of.
#[derive(Debug, Clone)]
pub enum Body {
    Bytes(Bytes),
    File(Arc<File>, u64),
    /// These bytes, then one byte over and over, so many bytes in all.
    Padded(Bytes, u8, u64),
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) | Self::Padded(_, _, length) => *length,
        }
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match self {
            Self::Bytes(bytes) => Ok(bytes.slice(at(range.start)..at(range.end))),
            Self::File(file, _) => {
                let mut piece = vec![0; at(range.end - range.start)];
                file.read_exact_at(&mut piece, range.start)?;
                Ok(piece.into())
            }
            Self::Padded(head, byte, _) => {
                let mut piece = vec![*byte; at(range.end - range.start)];
                if let Some(rest) = head.get(at(range.start)..) {
                    let n = rest.len().min(piece.len());
                    piece[..n].copy_from_slice(&rest[..n]);
                }
                Ok(piece.into())
            }
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// How reading one key goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// Every answer breaks off after so many bytes, so many times.
    pub break_off: Option<(u64, u32)>,
    /// Nothing is sent from this byte of the object on until the gate opens.
    pub gate: Option<(u64, watch::Receiver<bool>)>,
    /// A pause before every piece of 128 KiB.
    pub slow: Option<Duration>,
    /// Answered with this instead, so many times.
    pub refuse: Option<(u16, u32)>,
}

#[derive(Debug, Clone)]
struct Version {
    id: String,
    etag: String,
    body: Body,
}

/// A multipart upload: the key, and the parts with their etags.
type OpenUpload = (String, BTreeMap<i32, (String, Bytes)>);

#[derive(Debug, Default)]
struct Store {
    keys: BTreeMap<String, Vec<Version>>,
    trouble: BTreeMap<String, Trouble>,
    reads: BTreeMap<String, u32>,
    /// Multipart uploads that are neither completed nor aborted, by their ids.
    open: BTreeMap<String, OpenUpload>,
    /// Parts to come after which the next is held up until the gate opens.
    part_gate: Option<(u32, watch::Receiver<bool>)>,
    /// Parts that were held up so far.
    parts_held: u32,
    refuses_writes: bool,
    serial: u32,
}

impl Store {
    fn put(&mut self, key: &str, body: Body) -> Version {
        self.serial += 1;
        let id = format!("v{}", self.serial);
        // Not MD5, as with multipart uploads and encryption: nobody may compute with an etag.
        let version = Version { etag: etag(&format!("{key} {id}")), id, body };
        self.keys.entry(key.to_owned()).or_default().push(version.clone());
        version
    }
}

impl Store {
    /// The gate that the next part has to wait for.
    fn hold_part(&mut self) -> Option<watch::Receiver<bool>> {
        match &mut self.part_gate {
            Some((0, gate)) => {
                self.parts_held += 1;
                Some(gate.clone())
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }
}

fn etag(of: &str) -> String {
    Sha256::digest(of).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The server. It ends with the runtime that it was started in.
#[derive(Debug, Clone)]
pub struct TestS3 {
    store: Arc<Mutex<Store>>,
    pub endpoint: String,
}

impl TestS3 {
    pub async fn start() -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let mut builder = S3ServiceBuilder::new(Served(Arc::clone(&store)));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port for S3");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let service = service.clone();
                tokio::spawn(async move {
                    // A connection that breaks off is what some tests are about.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { store, endpoint }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("the store")
    }

    /// Puts an object and returns its version id.
    pub fn put(&self, key: &str, body: impl Into<Body>) -> String {
        self.store().put(key, body.into()).id
    }

    /// The newest version of an object that somebody has put, if there is one.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        let store = self.store();
        let body = &store.keys.get(key)?.last()?.body;
        Some(body.read(0..body.len()).expect("the body"))
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.store().keys.keys().cloned().collect()
    }

    /// Keys of the multipart uploads that are neither completed nor aborted.
    pub fn open_multiparts(&self) -> Vec<String> {
        self.store().open.values().map(|(key, _)| key.clone()).collect()
    }

    /// Puts a file of the disk, read when it is asked for.
    pub fn put_file(&self, key: &str, path: &Path) -> String {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let length = file.metadata().expect("length").len();
        self.put(key, Body::File(Arc::new(file), length))
    }

    /// Removes a key with all its versions.
    pub fn remove(&self, key: &str) {
        self.store().keys.remove(key);
    }

    /// From now on reading this key goes wrong in this way; `Trouble::default()` makes it well again.
    pub fn trouble(&self, key: &str, trouble: Trouble) {
        self.store().trouble.insert(key.to_owned(), trouble);
    }

    /// A gate at a byte of an object: nothing from there on is sent until `true` is sent.
    pub fn gate(&self, key: &str, at: u64) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        self.trouble(key, Trouble { gate: Some((at, receiver)), ..Trouble::default() });
        sender
    }

    /// So many parts of multipart uploads are taken; the next ones are held up until `true` is sent.
    pub fn gate_parts(&self, after: u32) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        self.store().part_gate = Some((after, receiver));
        sender
    }

    /// Waits until so many parts have been held up. Panics after half a minute.
    pub async fn until_held(&self, parts: u32) {
        let started = std::time::Instant::now();
        while self.store().parts_held < parts {
            assert!(started.elapsed().as_secs() < 30, "waited in vain for part {parts} of an upload");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From now on whole objects are not taken; with `false` they are again.
    pub fn refuse_writes(&self, refuse: bool) {
        self.store().refuses_writes = refuse;
    }

    /// How many GET requests for the key were answered.
    pub fn reads(&self, key: &str) -> u32 {
        self.store().reads.get(key).copied().unwrap_or(0)
    }
}

struct Served(Arc<Mutex<Store>>);

impl Served {
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

    /// What is to go wrong with this read.
    fn trouble(&self, key: &str) -> S3Result<Trouble> {
        let mut store = self.0.lock().map_err(|_| s3_error!(InternalError))?;
        *store.reads.entry(key.to_owned()).or_default() += 1;
        let Some(trouble) = store.trouble.get_mut(key) else { return Ok(Trouble::default()) };
        let now = trouble.clone();
        if let Some((status, times)) = &mut trouble.refuse
            && *times > 0
        {
            *times -= 1;
            let mut error = S3Error::with_message(S3ErrorCode::InternalError, "refused by the test");
            error.set_status_code(hyper::StatusCode::from_u16(*status).unwrap_or_default());
            return Err(error);
        }
        match &mut trouble.break_off {
            Some((_, 0)) => Ok(Trouble { break_off: None, ..now }),
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
impl S3 for Served {
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
        let trouble = self.trouble(&req.input.key)?;
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
            body: Some(stream_of(version.body, range, trouble)),
            ..GetObjectOutput::default()
        }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let body = collected(req.input.body).await?;
        if self.lock()?.refuses_writes {
            return Err(s3_error!(InternalError));
        }
        let version = self.lock()?.put(&req.input.key, body.into());
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
            // A gate whose keeper is gone is open.
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

    /// In pages of three, so that whoever reads one page only is found out.
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

fn stream_of(body: Body, range: Range<u64>, trouble: Trouble) -> StreamingBlob {
    let breaks_at = trouble.break_off.map(|(after, _)| range.start + after);
    StreamingBlob::wrap(stream::unfold(range.start, move |at| {
        let (body, mut gate, slow) = (body.clone(), trouble.gate.clone(), trouble.slow);
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
                    // A gate whose keeper is gone is open.
                    let _ = open.wait_for(|open| *open).await;
                }
            }
            Some((body.read(at..until), until))
        }
    }))
}
