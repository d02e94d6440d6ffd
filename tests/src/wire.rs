//! A proxy before PostgreSQL that understands the frontend/backend protocol, version 3 (PostgreSQL documentation, chapter 55). It
//! counts what a function asks and takes one request or one answer away.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to one request, and what the client sees of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection ends before the request reaches the server.
    Before,
    /// The server does what was asked; the connection ends before any of its answer arrives.
    After,
    /// The server does what was asked; the connection ends before the last message of its answer arrives.
    Half,
    /// The connection ends before the request reaches the server, and so does each other; nobody can connect again.
    Down,
    /// The request never arrives, and nothing comes back. The connection stays open.
    Withheld,
    /// The server does what was asked, and nothing comes back. The connection stays open.
    Silent,
}

/// What a client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The start of a connection, or a password.
    Connect,
    /// Rows of a COPY. The server does not answer them.
    Rows,
    /// COMMIT.
    Commit,
    /// Anything else that ends in Sync or is a simple query.
    Query,
}

/// Forwards connections until it is dropped.
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server: String,
    /// Which request is cut, counted from 1 over all connections, and how.
    cut: Option<(usize, Cut)>,
    count: AtomicUsize,
    asked: Mutex<Vec<Asked>>,
    hit: watch::Sender<bool>,
    is_down: AtomicBool,
}

impl Wire {
    /// A proxy on a free port of loopback before this server, `host:port`. `cut`: the number of a request, from 1, and what becomes
    /// of it.
    pub async fn start(server: &str, cut: Option<(usize, Cut)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            cut,
            count: AtomicUsize::new(0),
            asked: Mutex::default(),
            hit: watch::Sender::new(false),
            is_down: AtomicBool::new(false),
        });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                // The connections end with the proxy.
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    if !shared.is_down.load(Ordering::SeqCst) {
                        connections.spawn(Link::run(client, Arc::clone(&shared)));
                    }
                }
            }
        });
        Self { address, shared, task }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the request that was to be cut has come.
    pub fn was_hit(&self) -> bool {
        *self.shared.hit.borrow()
    }

    /// Waits for the request that is to be cut, and for its answer where the server gives one.
    pub async fn wait_for_hit(&self) {
        let mut hit = self.shared.hit.subscribe();
        // The sender lives as long as the proxy.
        let _ = hit.wait_for(|hit| *hit).await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is done with the server's messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Pass,
    /// None passes, and the connection ends with the answer.
    Swallow,
    /// All but the last pass, and the connection ends with the answer.
    HoldLast,
    /// None passes.
    Discard,
}

/// One connection through the proxy.
struct Link {
    shared: Arc<Shared>,
    client: TcpStream,
    server: TcpStream,
    /// The first message of a client has no type.
    started: bool,
    answers: Answers,
    /// What the client sends does not go on.
    withheld: bool,
}

/// The connection is to end.
struct Ended;

impl Link {
    async fn run(client: TcpStream, shared: Arc<Shared>) {
        let Ok(server) = TcpStream::connect(&shared.server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let answers = Answers::Pass;
        let mut link = Self { shared, client, server, started: false, answers, withheld: false };
        // Both sockets close when the link is dropped.
        let _ = link.forward().await;
    }

    async fn forward(&mut self) -> Result<(), Ended> {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        let (mut from_client, mut from_server) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut hit = self.shared.hit.subscribe();
        loop {
            let shared = &self.shared;
            let everybody_falls = async {
                let _ = hit.wait_for(|hit| *hit && shared.is_down.load(Ordering::SeqCst)).await;
            };
            tokio::select! {
                biased;
                () = everybody_falls => return Err(Ended),
                read = self.server.read(&mut from_server) => {
                    let read = read.ok().filter(|read| *read > 0).ok_or(Ended)?;
                    answered.extend_from_slice(&from_server[..read]);
                    self.pass_answers(&mut answered).await?;
                }
                read = self.client.read(&mut from_client) => {
                    let read = read.ok().filter(|read| *read > 0).ok_or(Ended)?;
                    asked.extend_from_slice(&from_client[..read]);
                    while let Some((length, what)) = self.next_request(&asked) {
                        let request: Vec<u8> = asked.drain(..length).collect();
                        self.send(&request, what).await?;
                    }
                }
            }
        }
    }

    /// The length of the next request, if it is complete: all messages up to the one that makes the server answer. `None` as its
    /// kind: it is not counted.
    fn next_request(&mut self, bytes: &[u8]) -> Option<(usize, Option<Asked>)> {
        if !self.started {
            let length = length_at(bytes, 0)?;
            self.started = bytes.len() >= length;
            return self.started.then_some((length, Some(Asked::Connect)));
        }
        let mut at = 0;
        loop {
            let length = 1 + length_at(bytes, at + 1)?;
            let message = bytes.get(at..at + length)?;
            at += length;
            match message[0] {
                b'Q' if message[5..].starts_with(b"COMMIT") => return Some((at, Some(Asked::Commit))),
                b'Q' => return Some((at, Some(Asked::Query))),
                b'p' => return Some((at, Some(Asked::Connect))),
                b'd' => return Some((at, Some(Asked::Rows))),
                b'S' => return Some((at, Some(Asked::Query))),
                // Terminate.
                b'X' => return Some((at, None)),
                // The end of COPY's rows comes with its Sync, as Parse, Bind and Execute do.
                _ => {}
            }
        }
    }

    async fn send(&mut self, request: &[u8], what: Option<Asked>) -> Result<(), Ended> {
        let cut = what.and_then(|what| self.shared.count(what));
        match cut {
            Some(Cut::Before) => {
                self.shared.hit.send_replace(true);
                return Err(Ended);
            }
            Some(Cut::Down) => {
                self.shared.is_down.store(true, Ordering::SeqCst);
                self.shared.hit.send_replace(true);
                return Err(Ended);
            }
            Some(Cut::Withheld) => {
                self.withheld = true;
                self.shared.hit.send_replace(true);
            }
            Some(Cut::After) => self.answers = Answers::Swallow,
            Some(Cut::Half) => self.answers = Answers::HoldLast,
            Some(Cut::Silent) => self.answers = Answers::Discard,
            None => {}
        }
        if !self.withheld {
            self.server.write_all(request).await.map_err(|_| Ended)?;
        }
        if cut.is_some() && what == Some(Asked::Rows) {
            // The server does not answer rows: what was asked is done.
            self.shared.hit.send_replace(true);
            if matches!(cut, Some(Cut::After | Cut::Half)) {
                return Err(Ended);
            }
        }
        Ok(())
    }

    async fn pass_answers(&mut self, bytes: &mut Vec<u8>) -> Result<(), Ended> {
        let mut until = 0;
        let mut ends_at = None;
        while let Some(length) = length_at(bytes, until + 1) {
            let Some(message) = bytes.get(until..until + 1 + length) else { break };
            if ends_answer(message) && self.answers != Answers::Pass {
                ends_at = Some(until);
                self.shared.hit.send_replace(true);
            }
            until += 1 + length;
        }
        let passes = match (self.answers, ends_at) {
            (Answers::HoldLast, Some(last)) => last,
            (Answers::Pass | Answers::HoldLast, _) => until,
            (Answers::Swallow | Answers::Discard, _) => 0,
        };
        self.client.write_all(&bytes[..passes]).await.map_err(|_| Ended)?;
        bytes.drain(..until);
        match (self.answers, ends_at) {
            (Answers::Swallow | Answers::HoldLast, Some(_)) => {
                self.client.flush().await.ok();
                Err(Ended)
            }
            _ => Ok(()),
        }
    }
}

impl Shared {
    /// Counts a request. Returns what becomes of it if it is the one that is cut.
    fn count(&self, what: Asked) -> Option<Cut> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        self.cut.filter(|(at, _)| *at == number).map(|(_, cut)| cut)
    }
}

/// The length of a message whose length field is at this place; it counts itself, but not the type before it.
fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(field)).ok()
}

/// Whether the client may speak after this message: ReadyForQuery, CopyInResponse, or an authentication that wants a password.
fn ends_answer(message: &[u8]) -> bool {
    match message[0] {
        b'Z' | b'G' => true,
        // AuthenticationOk and AuthenticationSASLFinal want nothing.
        b'R' => !matches!(message.get(5..9), Some([0, 0, 0, 0 | 12])),
        _ => false,
    }
}
