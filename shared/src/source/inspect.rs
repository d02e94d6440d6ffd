//! Inspects a file before anything is loaded: its layout, from its head.

use crate::csv::decompress::decompress;
use crate::csv::head::{Head, decompress_head, read_past_blank_lines};
use crate::csv::layout::read_layout;
use crate::csv::records::{ReadError, broke_off};
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::field::Mapping;
use crate::domain::layout::{Compression, Layout};
use crate::domain::object::FrozenObject;
use crate::domain::step::StepResult;
use crate::s3::objects::Objects;
use futures_util::stream::poll_fn;
use std::sync::Arc;
use tokio_util::io::StreamReader;

/// How much of a file inspection fetches: enough for a header of 64 KiB and some records, compressed or not.
pub const HEAD_BYTES: i64 = 128 * 1024;

/// Reads the head of a file and its layout. The outer error is S3's, the inner one the file's.
pub async fn read_head(
    objects: &Objects,
    object: &FrozenObject,
    mapping: &Mapping,
) -> StepResult<Result<(Layout, Head), Fault>> {
    let bytes = match objects.range(object, 0..=HEAD_BYTES - 1).await? {
        Ok(bytes) => bytes,
        Err(fault) => return Ok(Err(fault)),
    };
    let compression = Compression::of(&bytes);
    let head = match decompress_head(bytes, compression, object.bytes <= HEAD_BYTES).await {
        Ok(head) => head,
        Err(fault) => return Ok(Err(fault)),
    };
    if head.is_blank() && !head.ended {
        return read_late_header(objects, object, compression, mapping).await;
    }
    Ok(read_layout(&head.text, head.ended, compression, mapping).await.map(|layout| (layout, head)))
}

/// Reads the header of a file that begins with more blank lines than inspection fetches.
async fn read_late_header(
    objects: &Objects,
    object: &FrozenObject,
    compression: Compression,
    mapping: &Mapping,
) -> StepResult<Result<(Layout, Head), Fault>> {
    let mut chunks = objects.stream(object, Arc::default());
    let text = decompress(StreamReader::new(poll_fn(move |cx| chunks.poll_recv(cx))), compression, u64::MAX);
    let (text, ended) = match read_past_blank_lines(text).await {
        Ok(text) => text,
        Err(ReadError::File(fault)) => return Ok(Err(fault)),
        Err(ReadError::Source(error)) => return Err(broke_off(error)),
    };
    if text.is_empty() {
        return Ok(Err(Fault::new(FaultReason::EmptyFile, "it holds no record")));
    }
    // Not the first bytes of the file, so never all of it.
    let head = Head { text, ended: false, taken: 0 };
    Ok(read_layout(&head.text, ended, compression, mapping).await.map(|layout| (layout, head)))
}
