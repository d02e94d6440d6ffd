//! Looking at a file before anything is loaded: its layout from the head, and a sample of its codes.

use crate::db::files::FrozenObject;
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::layout::{self, Compression, Field, Layout};
use crate::domain::row::Record;
use crate::domain::source::Mapping;
use crate::domain::step::StepResult;
use crate::edge::csv_stream::{Next, Records, decompressed};
use crate::edge::objects::Objects;
use bytes::Bytes;
use std::io::Cursor;
use tokio::io::AsyncReadExt;

/// As much of a file's head as is fetched; enough for a header of 64 KiB and some records, compressed or not.
const HEAD_BYTES: i64 = 128 * 1024;
/// As much of it as is looked at once decompressed.
const HEAD_TEXT_BYTES: u64 = 512 * 1024;
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

/// Reads the head of a file. The outer error is S3's, the inner one the file's.
pub async fn inspect(
    objects: &Objects,
    object: &FrozenObject,
    mapping: &Mapping,
    probe: bool,
) -> StepResult<Result<Inspected, Fault>> {
    let head = objects.range(object, 0..=HEAD_BYTES - 1).await?;
    let complete = object.bytes <= HEAD_BYTES;
    let (text, ended) = match head_text(&head, complete).await {
        Ok(text) => text,
        Err(fault) => return Ok(Err(fault)),
    };
    let layout = match layout::read(&text, ended, Compression::of(&head), mapping) {
        Ok(layout) => layout,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut sample = codes(&text, &layout, 1).await;
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

/// The decompressed head, and whether it is the whole text.
async fn head_text(head: &Bytes, complete: bool) -> Result<(Vec<u8>, bool), Fault> {
    let compression = Compression::of(head);
    if compression == Compression::None {
        return Ok((head.to_vec(), complete));
    }
    let mut text = Vec::new();
    let mut stream = decompressed(Cursor::new(head.to_vec()), compression).take(HEAD_TEXT_BYTES);
    match stream.read_to_end(&mut text).await {
        Ok(_) => Ok((text, complete && stream.limit() > 0)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            if complete {
                Err(Fault::new(FaultReason::TruncatedGzip, "the compressed data ends in the middle"))
            } else {
                Ok((text, false))
            }
        }
        Err(error) => Err(Fault::new(FaultReason::CorruptCompression, error.to_string())),
    }
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
