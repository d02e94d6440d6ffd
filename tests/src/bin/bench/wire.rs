//! Counts round trips: a relay before PostgreSQL that sees who speaks when.

use crate::Outcome;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Default)]
struct Seen {
    round_trips: AtomicU64,
    /// The server has spoken since the client did.
    answered: AtomicBool,
}

/// The relay; it ends with the runtime.
#[derive(Debug)]
pub(crate) struct Wire {
    pub url: String,
    seen: Arc<Seen>,
}

impl Wire {
    pub(crate) async fn before(url: &str) -> Outcome<Self> {
        let config: tokio_postgres::Config = url.parse()?;
        let port = config.get_ports().first().copied().ok_or("a URL with a port")?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = listener.local_addr()?.port();
        let seen = Arc::new(Seen::default());
        let relayed = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let seen = Arc::clone(&relayed);
                tokio::spawn(async move { relay(client, port, &seen).await });
            }
        });
        Ok(Self { url: url.replace(&format!(":{port}/"), &format!(":{own}/")), seen })
    }

    /// How often the client has spoken and waited for an answer. What it sends in a row, or before the answer to what
    /// it sent before has begun, is one.
    pub(crate) fn round_trips(&self) -> u64 {
        self.seen.round_trips.load(Ordering::SeqCst)
    }
}

async fn relay(mut client: TcpStream, port: u16, seen: &Seen) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    seen.answered.store(true, Ordering::SeqCst);
    let (mut asks, mut answers) = ([0; 16384], [0; 16384]);
    loop {
        tokio::select! {
            read = client.read(&mut asks) => {
                let n = read?;
                if n == 0 {
                    return Ok(());
                }
                if seen.answered.swap(false, Ordering::SeqCst) {
                    seen.round_trips.fetch_add(1, Ordering::SeqCst);
                }
                server.write_all(&asks[..n]).await?;
            }
            read = server.read(&mut answers) => {
                let n = read?;
                if n == 0 {
                    return Ok(());
                }
                seen.answered.store(true, Ordering::SeqCst);
                client.write_all(&answers[..n]).await?;
            }
        }
    }
}
