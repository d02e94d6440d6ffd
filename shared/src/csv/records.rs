//! Reads the records of a CSV stream, and what the parser alone doesn't give: the raw bytes of each record, its physical
//! line, blank lines, a bound on a record's size, and quotes that are left open.

use super::decompress::Bytes;
use super::row::Record;
use super::scan::{count_leading_blank_lines, find_open_quote};
use crate::domain::fault::{Fault, FaultReason};
use csv_async::{AsyncReader, AsyncReaderBuilder, ByteRecord};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// A longer record fails its file.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;
const READ_BUFFER: usize = 256 * 1024;

/// Keeps the bytes of the record that is being parsed.
struct Tee {
    inner: Bytes,
    kept: Vec<u8>,
    /// Where in `kept` the current record begins.
    start: usize,
    at_end: bool,
}

impl AsyncRead for Tee {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The parser asks for more: all that is kept belongs to one unfinished record.
        if self.kept.len() - self.start > MAX_RECORD_BYTES {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, "record too long")));
        }
        let before = buf.filled().len();
        let read = self.inner.as_mut().poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            let fresh = &buf.filled()[before..];
            self.at_end = fresh.is_empty();
            let start = self.start;
            self.kept.drain(..start);
            self.start = 0;
            self.kept.extend_from_slice(fresh);
        }
        read
    }
}

/// The records of one file, header included.
pub struct Records {
    reader: AsyncReader<Tee>,
    record: ByteRecord,
    delimiter: u8,
    /// Bytes of the stream before the current record's raw bytes.
    consumed: u64,
    /// The physical line that `consumed` ends on.
    consumed_line: u64,
    raw: std::ops::Range<usize>,
    line: u64,
    blank_lines: u64,
    /// The record before ended in `\r`: a `\n` that follows belongs to it.
    after_cr: bool,
}

/// Why no record could be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file is at fault.
    File(Fault),
    /// The source of the bytes is at fault: reading again may work.
    Source(io::Error),
}

/// What `Records::next` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A record.
    Record,
    /// The end of the text.
    End,
}

impl Record for ByteRecord {
    fn len(&self) -> usize {
        ByteRecord::len(self)
    }

    fn get(&self, column: usize) -> Option<&[u8]> {
        ByteRecord::get(self, column)
    }

    fn bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Records {
    /// The records of this text.
    pub fn new(text: Bytes, delimiter: u8) -> Self {
        let tee = Tee { inner: text, kept: Vec::with_capacity(2 * READ_BUFFER), start: 0, at_end: false };
        let reader = AsyncReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(READ_BUFFER)
            .create_reader(tee);
        Self {
            reader,
            record: ByteRecord::with_capacity(1024, 16),
            delimiter,
            consumed: 0,
            consumed_line: 1,
            raw: 0..0,
            line: 1,
            blank_lines: 0,
            after_cr: false,
        }
    }

    /// Reads the next record. Blank lines before it are counted in `blank_lines`, also at the end.
    pub async fn next(&mut self) -> Result<Next, ReadError> {
        self.release();
        let found = match self.reader.read_byte_record(&mut self.record).await {
            Ok(found) => found,
            Err(error) => return Err(self.fault(error)),
        };
        let end = self.reader.position().byte();
        let tee = self.reader.get_ref();
        let length = usize::try_from(end - self.consumed).unwrap_or(0);
        let whole = tee.start..tee.start + if found { length } else { tee.kept.len() - tee.start };
        let bytes = &tee.kept[whole.clone()];
        let (skipped, blank, lines) = count_leading_blank_lines(bytes, self.after_cr);
        self.blank_lines = blank;
        self.line = self.consumed_line + lines;
        self.raw = whole.start + skipped..whole.end;
        if !found {
            return Ok(Next::End);
        }
        let raw = &bytes[skipped..];
        self.after_cr = raw.last() == Some(&b'\r');
        if tee.at_end && raw.len() == tee.kept.len() - self.raw.start {
            self.check_closed(raw).map_err(ReadError::File)?;
        }
        // The bound while reading is a read buffer wider.
        if self.raw().len() > MAX_RECORD_BYTES {
            let detail = format!("a record is longer than {MAX_RECORD_BYTES} bytes");
            return Err(ReadError::File(Fault::at_line(FaultReason::RecordTooLong, self.line, detail)));
        }
        Ok(Next::Record)
    }

    /// The record that was read last.
    pub fn record(&self) -> &ByteRecord {
        &self.record
    }

    /// The record's bytes as they are in the file, without the end of the line.
    pub fn raw(&self) -> &[u8] {
        let raw = &self.reader.get_ref().kept[self.raw.clone()];
        let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
        raw.strip_suffix(b"\r").unwrap_or(raw)
    }

    /// The physical line on which the record begins, 1-based.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Blank lines between the record before and this one.
    pub fn blank_lines(&self) -> u64 {
        self.blank_lines
    }

    /// Releases the bytes of the last record.
    fn release(&mut self) {
        let end = self.raw.end;
        let tee = self.reader.get_mut();
        let passed = &tee.kept[tee.start..end];
        self.consumed += u64::try_from(passed.len()).unwrap_or(0);
        self.consumed_line += u64::try_from(memchr::memchr_iter(b'\n', passed).count()).unwrap_or(0);
        tee.start = end;
        self.raw = end..end;
    }

    fn check_closed(&self, raw: &[u8]) -> Result<(), Fault> {
        match find_open_quote(raw, self.delimiter) {
            Some(at) => Err(self.open_quote_fault(raw, at)),
            None => Ok(()),
        }
    }

    fn open_quote_fault(&self, raw: &[u8], at: usize) -> Fault {
        let line = self.line + u64::try_from(memchr::memchr_iter(b'\n', &raw[..at]).count()).unwrap_or(0);
        Fault::at_line(
            FaultReason::UnterminatedQuote,
            line,
            "a quote that opens on this line is never closed",
        )
    }

    /// What a failed read says.
    fn fault(&mut self, error: csv_async::Error) -> ReadError {
        let tee = self.reader.get_ref();
        let rest = &tee.kept[tee.start..];
        let (skipped, _, lines) = count_leading_blank_lines(rest, self.after_cr);
        self.line = self.consumed_line + lines;
        let line = self.line;
        let error = match error.into_kind() {
            csv_async::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        };
        ReadError::File(match error.kind() {
            io::ErrorKind::FileTooLarge => match find_open_quote(&rest[skipped..], self.delimiter) {
                Some(at) => self.open_quote_fault(&rest[skipped..], at),
                None => {
                    let detail = format!("a record is longer than {MAX_RECORD_BYTES} bytes");
                    Fault::at_line(FaultReason::RecordTooLong, line, detail)
                }
            },
            io::ErrorKind::UnexpectedEof => {
                Fault::at_line(FaultReason::TruncatedGzip, line, "the compressed data ends in the middle")
            }
            io::ErrorKind::NotFound => Fault::new(FaultReason::MissingObject, error.to_string()),
            io::ErrorKind::ConnectionAborted => return ReadError::Source(error),
            _ => Fault::at_line(FaultReason::CorruptCompression, line, error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
    }

    fn stream(bytes: &[u8]) -> Bytes {
        Box::pin(io::Cursor::new(bytes.to_vec()))
    }

    type Seen = (Vec<Vec<u8>>, u64, Vec<u8>, u64);

    fn file_fault(error: ReadError) -> Fault {
        match error {
            ReadError::File(fault) => fault,
            ReadError::Source(error) => panic!("{error}"),
        }
    }

    fn read_all(bytes: &[u8]) -> Result<(Vec<Seen>, u64), Fault> {
        block_on(async {
            let mut records = Records::new(stream(bytes), b',');
            let (mut seen, mut blank) = (Vec::new(), 0);
            while records.next().await.map_err(file_fault)? == Next::Record {
                blank += records.blank_lines();
                let fields = records.record().iter().map(<[u8]>::to_vec).collect();
                seen.push((fields, records.line(), records.raw().to_vec(), records.blank_lines()));
            }
            Ok((seen, blank + records.blank_lines()))
        })
    }

    /// Fields and physical line of each record.
    type Parsed = Vec<(Vec<Vec<u8>>, u64)>;

    /// RFC 4180 by the book, for comparison: fields, line, raw bytes.
    fn reference(text: &[u8]) -> (Parsed, u64) {
        let (mut records, mut blank, mut line, mut at) = (Vec::new(), 0, 1u64, 0);
        while at < text.len() {
            let (mut fields, mut field, mut quoted, begin) = (Vec::new(), Vec::new(), false, at);
            let first_line = line;
            let mut field_start = true;
            let mut ended = false;
            while at < text.len() {
                let byte = text[at];
                at += 1;
                if byte == b'\n' {
                    line += 1;
                }
                match byte {
                    b'"' if quoted && text.get(at) == Some(&b'"') => {
                        field.push(b'"');
                        at += 1;
                    }
                    b'"' if quoted => quoted = false,
                    _ if quoted => field.push(byte),
                    b'"' if field_start => quoted = true,
                    b',' => fields.push(std::mem::take(&mut field)),
                    b'\n' => {
                        ended = true;
                        break;
                    }
                    b'\r' if text.get(at) == Some(&b'\n') => continue,
                    _ => field.push(byte),
                }
                field_start = byte == b',';
            }
            let raw = &text[begin..at];
            if raw == b"\n" || raw == b"\r\n" {
                blank += 1;
                continue;
            }
            let _ = ended;
            fields.push(field);
            records.push((fields, first_line));
        }
        (records, blank)
    }

    #[test]
    fn lines_raw_and_blanks() {
        let text = b"code,sku\r\n\r\nA,\"x\ny\"\r\nB,2\r\n\r\n\r\n";
        let (seen, blank) = read_all(text).expect("reads");
        assert_eq!(blank, 3);
        assert_eq!(seen.iter().map(|s| s.1).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(seen[1].2, b"A,\"x\ny\"");
        assert_eq!(seen[1].0, [b"A".to_vec(), b"x\ny".to_vec()]);
        assert_eq!(seen[2].2, b"B,2");
    }

    #[test]
    fn open_quotes_are_named() {
        let fault = read_all(b"code,sku\nA,1\nB,\"x\nC,2\nD,3\n").expect_err("open quote");
        assert_eq!((fault.reason, fault.line), (FaultReason::UnterminatedQuote, Some(3)));
        let mut long = b"code,sku\nA,\"".to_vec();
        long.resize(3 * MAX_RECORD_BYTES, b'x');
        let fault = read_all(&long).expect_err("open quote in a long record");
        assert_eq!((fault.reason, fault.line), (FaultReason::UnterminatedQuote, Some(2)));
        let mut long = b"code,sku\nA,".to_vec();
        long.resize(3 * MAX_RECORD_BYTES, b'x');
        let fault = read_all(&long).expect_err("long record");
        assert_eq!((fault.reason, fault.line), (FaultReason::RecordTooLong, Some(2)));
        assert!(read_all(b"code\n\"A\"").is_ok(), "closed at the very end");
        assert!(read_all(b"code\nA\"").is_ok(), "a quote inside of a field is text");
    }

    #[test]
    fn a_line_without_end_is_read_in_bounded_memory() {
        struct Endless(u64);
        impl AsyncRead for Endless {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let n = buf.remaining();
                buf.initialize_unfilled().fill(b'x');
                buf.advance(n);
                self.0 += n as u64;
                assert!(self.0 < 4 * MAX_RECORD_BYTES as u64, "read on after the bound");
                Poll::Ready(Ok(()))
            }
        }
        let fault = block_on(Records::new(Box::pin(Endless(0)), b',').next())
            .map_err(file_fault)
            .expect_err("too long");
        assert_eq!(fault.reason, FaultReason::RecordTooLong);
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(
            rows in proptest::collection::vec(proptest::collection::vec("[a-c\"\n,é]{0,5}", 1..4), 0..30),
            crlf: bool,
            blanks in proptest::collection::vec(0usize..3, 30),
            end: bool,
        ) {
            let eol = if crlf { "\r\n" } else { "\n" };
            let mut text = String::new();
            let mut lines = Vec::new();
            for (row, blanks) in rows.iter().zip(&blanks) {
                text.push_str(&eol.repeat(*blanks));
                let fields: Vec<String> = row.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect();
                lines.push(fields.join(","));
                text.push_str(&fields.join(","));
                text.push_str(eol);
            }
            if !end && text.ends_with(eol) {
                text.truncate(text.len() - eol.len());
            }
            let (seen, blank) = read_all(text.as_bytes()).expect("reads");
            let (expected, expected_blank) = reference(text.as_bytes());
            prop_assert_eq!(blank, expected_blank);
            let got: Vec<_> = seen.iter().map(|s| (s.0.clone(), s.1)).collect();
            prop_assert_eq!(got, expected);
            let raws: Vec<_> = seen.into_iter().map(|s| String::from_utf8(s.2).unwrap()).collect();
            prop_assert_eq!(raws, lines);
        }
    }
}
