//! Writes a file plain, with gzip or with zstd, in constant memory.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::write::GzEncoder;

use super::layout::Packing;

pub(super) enum Sink {
    Plain(File),
    Gzip {
        encoder: GzEncoder<File>,
        /// Begin a new member after this many bytes. The first member ends after the first write.
        member: Option<usize>,
        in_member: usize,
    },
    Zstd(zstd::Encoder<'static, File>),
}

const MEMBER: usize = 1 << 20;

impl Sink {
    pub(super) fn create(path: &Path, packing: Packing) -> io::Result<Self> {
        let file = File::create(path)?;
        let gzip = |file, member, in_member| Self::Gzip {
            encoder: GzEncoder::new(file, flate2::Compression::fast()),
            member,
            in_member,
        };
        Ok(match packing {
            Packing::None => Self::Plain(file),
            Packing::Gzip => gzip(file, None, 0),
            Packing::GzipMembers => gzip(file, Some(MEMBER), MEMBER),
            Packing::Zstd => Self::Zstd(zstd::Encoder::new(file, 1)?),
        })
    }

    /// Writes a piece. Pieces should be large, because a plain file has no buffer.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Gzip { encoder, member, in_member } => {
                encoder.write_all(bytes)?;
                *in_member += bytes.len();
                if member.is_some_and(|size| *in_member >= size) {
                    encoder.try_finish()?;
                    let file = encoder.get_ref().try_clone()?;
                    *encoder = GzEncoder::new(file, flate2::Compression::fast());
                    *in_member = 0;
                }
                Ok(())
            }
        }
    }

    /// Ends the stream and returns the size of the file.
    pub(super) fn finish(self) -> io::Result<u64> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip { encoder, .. } => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        Ok(file.metadata()?.len())
    }
}
