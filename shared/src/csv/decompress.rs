//! Undoes a file's compression, and tells how much of the object the text was made of.

use crate::domain::fault::{Fault, FaultReason};
use crate::domain::layout::Compression;
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// A stream of bytes that is read once.
pub type Bytes = Pin<Box<dyn AsyncRead + Send>>;

/// Undoes a file's compression.
pub fn decompress(input: impl AsyncBufRead + Send + 'static, compression: Compression) -> Bytes {
    match compression {
        Compression::None => Box::pin(input),
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
