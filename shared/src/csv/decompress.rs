//! Undoes a file's compression within bounds, and tells how much of the object the text was made of.

use crate::domain::fault::{Fault, FaultReason};
use crate::domain::layout::Compression;
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// A stream of bytes that is read once.
pub type Bytes = Pin<Box<dyn AsyncRead + Send>>;

/// A file that holds more than so many times its size is none that lists codes: they compress 5 to 50 times, gzip ends at 1,032.
pub const MAX_RATIO: u64 = 1000;
/// Below so much text, any ratio is taken.
pub const RATIO_FROM: u64 = 100_000_000;
/// After so much text, other tasks have their turn: an endless stream of text must not keep a time limit from being noticed.
const TURN: u64 = 16 * 1024 * 1024;

/// Undoes a file's compression. Of a compressed file, more than `max_text` bytes are a fault, and so is a text that is absurdly longer
/// than the file. Of any other file, the text is as long as the file.
pub fn decompress(
    input: impl AsyncBufRead + Send + Unpin + 'static,
    compression: Compression,
    max_text: u64,
) -> Bytes {
    let taken = Arc::new(AtomicU64::new(0));
    let input = Counted { inner: input, taken: Arc::clone(&taken) };
    let text: Bytes = match compression {
        Compression::None => return Box::pin(input),
        Compression::Gzip => {
            let mut decoder = GzipDecoder::new(input);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Compression::Zstd => {
            let mut decoder = ZstdDecoder::new(input);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
    };
    Box::pin(Bounded { text, read: 0, turn: 0, taken, max_text })
}

/// Counts the compressed bytes that a decoder has taken.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Counted<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().inner).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        Pin::new(&mut self.inner).consume(bytes);
    }
}

/// Text that ends in a fault where it is longer than it may be.
struct Bounded {
    text: Bytes,
    read: u64,
    /// Bytes since the last turn of others.
    turn: u64,
    taken: Arc<AtomicU64>,
    max_text: u64,
}

impl Bounded {
    fn check(&self) -> Result<(), Fault> {
        if self.read > self.max_text {
            let detail = format!("it holds more than {} bytes of text once decompressed", self.max_text);
            return Err(Fault::new(FaultReason::DecompressedTooLarge, detail));
        }
        let taken = self.taken.load(Ordering::Relaxed).max(1);
        if self.read > RATIO_FROM && self.read / taken > MAX_RATIO {
            let detail = format!("its first {taken} bytes hold {} bytes of text", self.read);
            return Err(Fault::new(FaultReason::CompressionBomb, detail));
        }
        Ok(())
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn >= TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = self.text.as_mut().poll_read(cx, buf);
        let fresh = (buf.filled().len() - before) as u64;
        self.read += fresh;
        self.turn += fresh;
        match self.check() {
            Ok(()) => read,
            Err(fault) => Poll::Ready(Err(io::Error::other(fault))),
        }
    }
}

/// The fault of the object that the bytes come from, where that ended the stream.
pub(super) fn object_fault(error: &io::Error) -> Option<Fault> {
    error.get_ref()?.downcast_ref::<Fault>().cloned()
}

/// What a failed decompression says.
pub(super) fn decompression_fault(error: &io::Error) -> Fault {
    let text = error.to_string();
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Fault::new(FaultReason::TruncatedGzip, "the compressed data ends in the middle")
    } else if text.contains("too much memory") {
        // zstd's own limit for a stream, ZSTD_WINDOWLOG_LIMIT_DEFAULT.
        Fault::new(FaultReason::WindowTooLarge, "it needs a window of more than 128 MiB to be decompressed")
    } else {
        Fault::new(FaultReason::CorruptCompression, text)
    }
}

/// Text that knows how many bytes of the object it was made of: those that the decoder had read when it returned the text.
/// What the decoder holds back, such as half a block of zstd, doesn't count.
pub struct Measured {
    inner: Bytes,
    pulled: Arc<AtomicI64>,
    taken: Arc<AtomicI64>,
}

impl Measured {
    /// `pulled`: bytes of the object that the decoder has read. Returns the text, and how many of them it was made of.
    pub fn new(inner: Bytes, pulled: Arc<AtomicI64>) -> (Self, Arc<AtomicI64>) {
        let taken = Arc::new(AtomicI64::new(0));
        (Self { inner, pulled, taken: Arc::clone(&taken) }, taken)
    }
}

impl AsyncRead for Measured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.inner.as_mut().poll_read(cx, buf);
        if buf.filled().len() > before {
            self.taken.store(self.pulled.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        read
    }
}
