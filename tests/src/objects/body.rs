//! Contents of an object: bytes, a file or generated padding.

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// The contents of an object.
#[derive(Debug, Clone)]
pub enum Body {
    Bytes(Bytes),
    File(Arc<File>, u64),
    /// These bytes, then one byte repeated up to this total length.
    Padded(Bytes, u8, u64),
}

impl Body {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) | Self::Padded(_, _, length) => *length,
        }
    }

    pub(super) fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match self {
            Self::Bytes(bytes) => Ok(bytes.slice(at(range.start)..at(range.end))),
            Self::File(file, _) => {
                let mut piece = vec![0; at(range.end - range.start)];
                file.read_exact_at(&mut piece, range.start)?;
                Ok(piece.into())
            }
            Self::Padded(head, byte, _) => {
                let mut piece = vec![*byte; at(range.end - range.start)];
                if let Some(rest) = head.get(at(range.start)..) {
                    let n = rest.len().min(piece.len());
                    piece[..n].copy_from_slice(&rest[..n]);
                }
                Ok(piece.into())
            }
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}
