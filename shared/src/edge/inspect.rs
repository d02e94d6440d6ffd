//! Looking at a file before anything is loaded: its layout from the head, and a sample of its codes.

use crate::db::files::FrozenObject;
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::layout::{self, Compression, Field, Layout};
use crate::domain::row::Record;
use crate::domain::source::Mapping;
use crate::domain::step::StepResult;
use crate::edge::csv_stream::{Measured, Next, Records, decompressed};
use crate::edge::objects::Objects;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::AsyncReadExt;
use tokio_util::io::StreamReader;

/// As much of a file's head as is fetched; enough for a header of 64 KiB and some records, compressed or not.
const HEAD_BYTES: i64 = 128 * 1024;
/// As much of it as is looked at once decompressed.
const HEAD_TEXT_BYTES: u64 = 512 * 1024;
/// Compressed bytes that are handed on at a time.
const PIECE: usize = 4 * 1024;
/// Places inside of a large file that the sample is taken from, and bytes at each.
const PROBES: i64 = 3;
const PROBE_BYTES: i64 = 16 * 1024;
const CODES_PER_PLACE: usize = 100;

/// What the head of a file says.
#[derive(Debug, Clone)]
pub struct Inspected {
    pub layout: Layout,
    /// Codes from here and there; they only decide where staging is cut.
    pub sample: Vec<String>,
}

/// The first bytes of a file, decompressed.
#[derive(Debug, Clone)]
pub struct Head {
    pub text: Vec<u8>,
    /// `text` is the whole file.
    pub ended: bool,
    /// Bytes of the object that `text` was made of.
    pub taken: i64,
}

impl Head {
    /// Up to the end of the last line that is whole.
    pub fn whole_lines(&self) -> &[u8] {
        let end = memchr::memrchr(b'\n', &self.text).map_or(0, |i| i + 1);
        if self.ended { &self.text } else { &self.text[..end] }
    }
}

/// Reads the head of a file and its layout. The outer error is S3's, the inner one the file's.
pub async fn look(
    objects: &Objects,
    object: &FrozenObject,
    mapping: &Mapping,
) -> StepResult<Result<(Layout, Head), Fault>> {
    let bytes = objects.range(object, 0..=HEAD_BYTES - 1).await?;
    let compression = Compression::of(&bytes);
    let head = match decompress(bytes, compression, object.bytes <= HEAD_BYTES).await {
        Ok(head) => head,
        Err(fault) => return Ok(Err(fault)),
    };
    Ok(layout::read(&head.text, head.ended, compression, mapping).map(|layout| (layout, head)))
}

/// The same, and some of the file's codes.
pub async fn inspect(
    objects: &Objects,
    object: &FrozenObject,
    mapping: &Mapping,
    probe: bool,
) -> StepResult<Result<Inspected, Fault>> {
    let (layout, head) = match look(objects, object, mapping).await? {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut sample = codes(&head.text, &layout, 1).await;
    if probe && layout.compression == Compression::None && object.bytes > 8 * HEAD_BYTES {
        for place in 1..=PROBES {
            let at = object.bytes / (PROBES + 1) * place;
            let piece = objects.range(object, at..=at + PROBE_BYTES - 1).await?;
            // The first line is torn.
            let from = memchr::memchr(b'\n', &piece).map_or(piece.len(), |i| i + 1);
            sample.extend(codes(&piece[from..], &layout, 0).await);
        }
    }
    Ok(Ok(Inspected { layout, sample }))
}

/// `complete`: these bytes are the whole object.
async fn decompress(bytes: Bytes, compression: Compression, complete: bool) -> Result<Head, Fault> {
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    if compression == Compression::None {
        return Ok(Head { text: bytes.to_vec(), ended: complete, taken: length });
    }
    let pulled = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&pulled);
    let pieces = (0..bytes.len()).step_by(PIECE).map(move |at| bytes.slice(at..bytes.len().min(at + PIECE)));
    let pieces = stream::iter(pieces).map(move |piece| {
        count.fetch_add(i64::try_from(piece.len()).unwrap_or(0), Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece)
    });
    let mut text = Vec::new();
    let (stream, taken) = Measured::new(decompressed(StreamReader::new(pieces), compression), pulled);
    let mut stream = stream.take(HEAD_TEXT_BYTES);
    let ended = match stream.read_to_end(&mut text).await {
        Ok(_) => complete && stream.limit() > 0,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            if complete {
                return Err(Fault::new(FaultReason::TruncatedGzip, "the compressed data ends in the middle"));
            }
            false
        }
        Err(error) => return Err(Fault::new(FaultReason::CorruptCompression, error.to_string())),
    };
    Ok(Head { text, ended, taken: taken.load(Ordering::Relaxed) })
}

/// Codes of the first whole records of a piece of text.
async fn codes(text: &[u8], layout: &Layout, skip: usize) -> Vec<String> {
    let Some(column) = layout.column(Field::Code) else { return Vec::new() };
    // The last line may be torn.
    let whole = memchr::memrchr(b'\n', text).map_or(0, |i| i + 1);
    let mut records = Records::new(Box::pin(Cursor::new(text[..whole].to_vec())), layout.delimiter);
    let mut codes = Vec::new();
    let mut seen = 0;
    while codes.len() < CODES_PER_PLACE && matches!(records.next().await, Ok(Next::Record)) {
        seen += 1;
        let code = records
            .record()
            .get(column)
            .map(<[u8]>::trim_ascii)
            .and_then(|code| std::str::from_utf8(code).ok());
        if seen > skip
            && Record::len(records.record()) <= layout.columns.len()
            && let Some(code) = code.filter(|code| (1..=255).contains(&code.len()) && !code.contains('\0'))
        {
            codes.push(code.to_owned());
        }
    }
    codes
}
