//! An S3 on a loopback port. The protocol is real (s3s, signatures included), the store keeps versions, and a test can
//! inject faults.

mod body;
mod requests;
mod service;
mod store;

pub use body::Body;
pub use requests::RequestFault;
pub use store::ReadFault;

use crate::wait;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use requests::Requests;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use service::Service;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub const BUCKET: &str = "onceload-test";
pub const ACCESS_KEY: &str = "test";
pub const SECRET_KEY: &str = "test";

/// The S3 server. It stops with the runtime that started it.
#[derive(Debug, Clone)]
pub struct TestS3 {
    store: Arc<Mutex<Store>>,
    requests: Requests,
    pub endpoint: String,
}

impl TestS3 {
    pub async fn start() -> Self {
        Self::serve(Store::default()).await
    }

    /// Another server with the same objects.
    pub async fn copy(&self) -> Self {
        let store = self.store().clone();
        Self::serve(store).await
    }

    async fn serve(store: Store) -> Self {
        let store = Arc::new(Mutex::new(store));
        let mut builder = S3ServiceBuilder::new(Service(Arc::clone(&store)));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let requests = Requests::default();
        let counted = requests.clone();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port for S3");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (service, counted) = (service.clone(), counted.clone());
                let service = service_fn(move |request| counted.clone().answer(service.clone(), request));
                tokio::spawn(async move {
                    // Some tests break connections on purpose.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { store, requests, endpoint }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("the store")
    }

    /// Puts an object and returns its version id.
    pub fn put(&self, key: &str, body: impl Into<Body>) -> String {
        self.store().put(key, body.into()).id
    }

    /// The newest version of an object, if there is one.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        let store = self.store();
        let body = &store.keys.get(key)?.last()?.body;
        Some(body.read(0..body.len()).expect("the body"))
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.store().keys.keys().cloned().collect()
    }

    /// The keys of multipart uploads that are neither completed nor aborted.
    pub fn open_multiparts(&self) -> Vec<String> {
        self.store().open.values().map(|(key, _)| key.clone()).collect()
    }

    /// Puts a file on disk as an object, whose bytes are read on request.
    pub fn put_file(&self, key: &str, path: &Path) -> String {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let length = file.metadata().expect("length").len();
        self.put(key, Body::File(Arc::new(file), length))
    }

    /// Removes a key with all its versions.
    pub fn remove(&self, key: &str) {
        self.store().keys.remove(key);
    }

    /// Removes one version of a key.
    pub fn remove_version(&self, key: &str, version: &str) {
        if let Some(versions) = self.store().keys.get_mut(key) {
            versions.retain(|found| found.id != version);
        }
    }

    /// Moves all versions of a key into an archive, or restores them.
    pub fn archive(&self, key: &str, is_archived: bool) {
        for version in self.store().keys.get_mut(key).into_iter().flatten() {
            version.is_archived = is_archived;
        }
    }

    /// Makes every read of this key fail in this way from now on; `ReadFault::default()` ends it.
    pub fn inject_fault(&self, key: &str, fault: ReadFault) {
        self.store().faults.insert(key.to_owned(), fault);
    }

    /// Holds back the object's bytes from this offset on until the returned sender sends `true`.
    pub fn gate(&self, key: &str, at: u64) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        self.inject_fault(key, ReadFault { gate: Some((at, receiver)), ..ReadFault::default() });
        sender
    }

    /// Takes so many parts of multipart uploads and holds back the next ones until the returned sender sends `true`.
    pub fn gate_parts(&self, after: u32) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        self.store().part_gate = Some((after, receiver));
        sender
    }

    /// Waits until the gate has held back so many parts.
    pub async fn wait_for_held_parts(&self, parts: u32) {
        let held = async || (self.store().parts_held >= parts).then_some(());
        wait::until("the gate to hold back a part", Duration::from_millis(10), held).await;
    }

    /// Refuses or accepts PUTs of whole objects from now on.
    pub fn refuse_writes(&self, refuse: bool) {
        self.store().refuses_writes = refuse;
    }

    /// Makes one of the requests from now on fail, counted from 1, or none; and counts anew.
    pub fn fail_request(&self, fault: Option<(usize, RequestFault)>) {
        self.requests.set_fault(fault);
    }

    /// How many requests have come.
    pub fn count_requests(&self) -> usize {
        self.requests.count()
    }

    /// Whether a request has failed as it was told to.
    pub fn has_failed_request(&self) -> bool {
        self.requests.was_hit()
    }

    /// How many GET requests for this key have been answered.
    pub fn reads(&self, key: &str) -> u32 {
        self.store().reads.get(key).copied().unwrap_or(0)
    }
}
