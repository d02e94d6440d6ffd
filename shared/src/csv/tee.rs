//! Keeps the bytes that the parser has taken but not yet made a record of, and where in the file they are.

use super::decompress::Bytes;
use super::scan::{count_line_ends, leading_blank_lines};
use crate::domain::layout::LineEnd;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// A longer record fails its file.
pub(super) const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// UTF-8's byte order mark.
pub(super) const BOM: &[u8] = "\u{feff}".as_bytes();

/// The bytes from the current record's first one on.
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Where in `bytes` the record begins.
    start: usize,
    /// The record's place in the stream.
    offset: u64,
    /// The physical line on which the record begins, 1-based.
    line: u64,
    /// Blank lines before the record.
    blank: u64,
    line_end: LineEnd,
    after_cr: bool,
    at_end: bool,
}

impl Kept {
    /// What is kept, from the record on.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The stream has ended, so that nothing follows what is kept.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Passes over the byte order mark and blank lines, as the parser does, so that they are no part of a record.
    pub(super) fn skip_blank(&mut self) {
        if self.offset == 0 && self.bytes().starts_with(BOM) {
            self.advance(BOM.len());
        }
        let (length, lines) = leading_blank_lines(self.bytes(), self.line_end, self.after_cr);
        self.blank += lines;
        self.line += lines;
        self.advance(length);
    }

    /// Passes over the record.
    pub(super) fn pass(&mut self, length: usize) {
        self.line += count_line_ends(&self.bytes()[..length], self.line_end);
        self.advance(length);
    }

    /// Takes the number of blank lines.
    pub(super) fn take_blank(&mut self) -> u64 {
        std::mem::take(&mut self.blank)
    }

    fn advance(&mut self, length: usize) {
        if length > 0 {
            self.after_cr = self.bytes()[length - 1] == b'\r';
            self.start += length;
            self.offset += length as u64;
        }
    }

    fn append(&mut self, fresh: &[u8]) {
        self.at_end = fresh.is_empty();
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(fresh);
    }
}

/// Hands the stream on to the parser, and keeps what it takes.
pub(super) struct Tee {
    inner: Bytes,
    pub(super) kept: Kept,
}

impl Tee {
    pub(super) fn new(inner: Bytes, line_end: LineEnd, capacity: usize) -> Self {
        let kept = Kept {
            bytes: Vec::with_capacity(capacity),
            start: 0,
            offset: 0,
            line: 1,
            blank: 0,
            line_end,
            after_cr: false,
            at_end: false,
        };
        Self { inner, kept }
    }
}

impl AsyncRead for Tee {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The parser asks for more: all that is kept is blank lines and one unfinished record.
        self.kept.skip_blank();
        if self.kept.bytes().len() > MAX_RECORD_BYTES {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, "record too long")));
        }
        let before = buf.filled().len();
        let read = self.inner.as_mut().poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            self.kept.append(&buf.filled()[before..]);
        }
        read
    }
}
