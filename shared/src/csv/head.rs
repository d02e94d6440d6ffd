//! The head of a file: its first bytes, decompressed.

use super::decompress::{Bytes, Measured, decompress, decompression_fault, object_fault};
use super::records::ReadError;
use super::tee::BOM;
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::layout::{Compression, Density};
use futures_util::{StreamExt, stream};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::AsyncReadExt;
use tokio_util::io::StreamReader;

/// How many decompressed bytes inspection reads.
const HEAD_TEXT_BYTES: u64 = 512 * 1024;
/// Compressed bytes that are handed to the decoder at a time.
const PIECE: usize = 4 * 1024;
/// How many blank lines, in bytes, may stand before the header.
const MAX_BLANK_BYTES: usize = 16 * 1024 * 1024;

/// The first bytes of a file, decompressed.
#[derive(Debug, Clone)]
pub struct Head {
    /// The bytes.
    pub text: Vec<u8>,
    /// `text` is the whole file.
    pub ended: bool,
    /// Bytes of the object that `text` was made of.
    pub taken: i64,
}

impl Head {
    /// Whether there are only blank lines in it, so that the header comes later.
    pub fn is_blank(&self) -> bool {
        let text = self.text.strip_prefix(BOM).unwrap_or(&self.text);
        text.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// How dense it is. `None`: it was not read from the beginning of the object.
    pub fn density(&self) -> Option<Density> {
        let bytes = u64::try_from(self.taken).ok().filter(|taken| *taken > 0)?;
        let is_end = |byte: u8| matches!(byte, b'\r' | b'\n');
        // A line ends where a line end follows something else; the last one may lack its own.
        let records = self.text.windows(2).filter(|pair| !is_end(pair[0]) && is_end(pair[1])).count() as u64;
        Some(Density { bytes, text: self.text.len() as u64, records: records.max(1) })
    }

    /// The text up to the end of the last complete line.
    pub fn whole_lines(&self) -> &[u8] {
        let end = memchr::memrchr(b'\n', &self.text).map_or(0, |i| i + 1);
        if self.ended { &self.text } else { &self.text[..end] }
    }
}

/// Decompresses the first bytes of an object. `complete`: these bytes are the whole object.
pub async fn decompress_head(
    bytes: bytes::Bytes,
    compression: Compression,
    complete: bool,
) -> Result<Head, Fault> {
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    if compression == Compression::None {
        return Ok(Head { text: bytes.to_vec(), ended: complete, taken: length });
    }
    let pulled = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&pulled);
    let pieces = (0..bytes.len()).step_by(PIECE).map(move |at| bytes.slice(at..bytes.len().min(at + PIECE)));
    let pieces = stream::iter(pieces).map(move |piece| {
        count.fetch_add(i64::try_from(piece.len()).unwrap_or(0), Ordering::Relaxed);
        Ok::<_, io::Error>(piece)
    });
    let mut text = Vec::new();
    let (stream, taken) = Measured::new(decompress(StreamReader::new(pieces), compression, u64::MAX), pulled);
    let mut stream = stream.take(HEAD_TEXT_BYTES);
    let ended = match stream.read_to_end(&mut text).await {
        Ok(_) => complete && stream.limit() > 0,
        // The rest of it was not handed over.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !complete => false,
        Err(error) => return Err(decompression_fault(&error)),
    };
    Ok(Head { text, ended, taken: taken.load(Ordering::Relaxed) })
}

/// Reads on behind blank lines: the first bytes from the header on, and whether they are the rest of the file.
pub async fn read_past_blank_lines(mut text: Bytes) -> Result<(Vec<u8>, bool), ReadError> {
    let (mut head, mut begun, mut passed) = (Vec::new(), false, 0);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = text.read(&mut piece).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionAborted => ReadError::Source(error),
            _ => ReadError::File(object_fault(&error).unwrap_or_else(|| decompression_fault(&error))),
        })?;
        let mut read = &piece[..length];
        if !begun {
            read = read.strip_prefix(BOM).unwrap_or(read);
            begun = true;
        }
        let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let blank = if head.is_empty() { read.iter().take_while(is_blank).count() } else { 0 };
        passed += blank;
        if passed > MAX_BLANK_BYTES {
            let detail = format!("more than {MAX_BLANK_BYTES} blank lines come before the header");
            return Err(ReadError::File(Fault::new(FaultReason::HeaderTooLong, detail)));
        }
        head.extend_from_slice(&read[blank..]);
        if length == 0 || head.len() as u64 >= HEAD_TEXT_BYTES {
            return Ok((head, length == 0));
        }
    }
}
