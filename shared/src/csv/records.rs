//! Reads the records of a CSV stream, and what the parser alone doesn't give: the raw bytes of each record, its physical
//! line, blank lines, a bound on a record's size, and quotes that are left open.

use super::decompress::{Bytes, decompression_fault, object_fault};
use super::row::Record;
use super::scan::{count_line_ends, find_malformed_quotes, find_open_quote, has_bare_cr};
use super::tee::{MAX_RECORD_BYTES, Tee};
use crate::domain::fault::{Fault, FaultReason};
use crate::domain::layout::LineEnd;
use crate::domain::row::{Reject, RejectReason};
use crate::domain::step::{StepError, StepErrorKind};
use csv_async::{AsyncReader, AsyncReaderBuilder, ByteRecord, Terminator};
use std::io;

const READ_BUFFER: usize = 256 * 1024;

/// The records of one file, header included.
pub struct Records {
    reader: AsyncReader<Tee>,
    record: ByteRecord,
    delimiter: u8,
    line_end: LineEnd,
    /// Length of the current record with the end of its line.
    length: usize,
    /// Length of the end of its line.
    end: usize,
    blank_lines: u64,
}

/// Why no record could be read.
#[derive(Debug)]
pub enum ReadError {
    /// The file is at fault.
    File(Fault),
    /// The source of the bytes is at fault: reading again may work.
    Source(io::Error),
}

/// The error of a step whose source of bytes was at fault.
pub fn broke_off(error: io::Error) -> StepError {
    StepError::with_source(StepErrorKind::Transient, "reading the object broke off", error)
}

/// What `Records::next` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A record.
    Record,
    /// The end of the text.
    End,
}

/// The fields of a record.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    record: &'a ByteRecord,
    /// Bytes at the end of the last field that belong to the end of the line.
    surplus: usize,
}

impl<'a> Record<'a> for Fields<'a> {
    fn len(self) -> usize {
        self.record.len()
    }

    fn get(self, column: usize) -> Option<&'a [u8]> {
        let field = self.record.get(column)?;
        let surplus = if column + 1 == self.record.len() { self.surplus } else { 0 };
        Some(&field[..field.len() - surplus])
    }

    fn bytes(self) -> &'a [u8] {
        let bytes = self.record.as_slice();
        &bytes[..bytes.len() - self.surplus]
    }
}

impl Records {
    /// The records of this text. `line_end`: what ends a record outside of quotes.
    pub fn new(text: Bytes, delimiter: u8, line_end: LineEnd) -> Self {
        let terminator = match line_end {
            LineEnd::Lf => Terminator::Any(b'\n'),
            LineEnd::Any => Terminator::CRLF,
        };
        let reader = AsyncReaderBuilder::new()
            .delimiter(delimiter)
            .terminator(terminator)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(READ_BUFFER)
            .create_reader(Tee::new(text, line_end, 2 * READ_BUFFER));
        Self {
            reader,
            record: ByteRecord::with_capacity(1024, 16),
            delimiter,
            line_end,
            length: 0,
            end: 0,
            blank_lines: 0,
        }
    }

    /// Reads the next record. Blank lines before it are counted in `blank_lines`, also at the end.
    pub async fn next(&mut self) -> Result<Next, ReadError> {
        self.blank_lines = 0;
        loop {
            self.reader.get_mut().kept.pass(self.length);
            self.length = 0;
            let found = match self.reader.read_byte_record(&mut self.record).await {
                Ok(found) => found,
                Err(error) => return Err(self.fault(error)),
            };
            let position = self.reader.position().byte();
            let kept = &mut self.reader.get_mut().kept;
            kept.skip_blank();
            self.blank_lines += kept.take_blank();
            if !found {
                return Ok(Next::End);
            }
            self.length = usize::try_from(position - kept.offset()).unwrap_or(0);
            self.end = self.measure_end();
            if self.length > self.end {
                break;
            }
            // Where only `\n` ends a record, the parser takes a `\r\n` alone for one.
            self.blank_lines += 1;
        }
        let kept = &self.reader.get_ref().kept;
        if kept.at_end() && kept.bytes().len() == self.length {
            self.check_closed().map_err(ReadError::File)?;
        }
        // The bound while reading is a read buffer wider.
        if self.raw().len() > MAX_RECORD_BYTES {
            return Err(ReadError::File(self.too_long()));
        }
        Ok(Next::Record)
    }

    /// The fields of the record that was read last.
    pub fn fields(&self) -> Fields<'_> {
        // Where only `\n` ends a record, the parser leaves the `\r` before it in the last field.
        let with_cr =
            self.line_end == LineEnd::Lf && self.with_end()[self.length - self.end..].contains(&b'\r');
        Fields { record: &self.record, surplus: usize::from(with_cr) }
    }

    /// The record's bytes as they are in the file, without the end of the line.
    pub fn raw(&self) -> &[u8] {
        &self.with_end()[..self.length - self.end]
    }

    /// What its raw bytes break that the parser takes: misplaced quotes, or a CR outside of quotes that ends nothing.
    pub fn check_raw(&self) -> Result<(), Reject> {
        let raw = self.raw();
        if let Some(malformed) = find_malformed_quotes(raw, self.delimiter) {
            let detail = malformed.describe().into();
            return Err(Reject { reason: RejectReason::MalformedQuotes, detail });
        }
        if self.line_end == LineEnd::Lf && has_bare_cr(raw, self.delimiter) {
            let detail = "a CR stands outside of quotes, and lines end in LF here".into();
            return Err(Reject { reason: RejectReason::ControlCharacter, detail });
        }
        Ok(())
    }

    /// Where the record ends in the file, with the end of its line; of `\r\n` the `\r` alone where any of them ends a
    /// record.
    pub(super) fn end_offset(&self) -> u64 {
        self.reader.get_ref().kept.offset() + self.length as u64
    }

    /// Whether the record has an end of its line.
    pub(super) fn is_finished(&self) -> bool {
        self.end > 0
    }

    /// The physical line on which the record begins, 1-based.
    pub fn line(&self) -> u64 {
        self.reader.get_ref().kept.line()
    }

    /// Blank lines between the record before and this one.
    pub fn blank_lines(&self) -> u64 {
        self.blank_lines
    }

    fn with_end(&self) -> &[u8] {
        &self.reader.get_ref().kept.bytes()[..self.length]
    }

    fn measure_end(&self) -> usize {
        match self.with_end() {
            [.., b'\r', b'\n'] => 2,
            [.., b'\r' | b'\n'] => 1,
            _ => 0,
        }
    }

    fn check_closed(&self) -> Result<(), Fault> {
        match find_open_quote(self.with_end(), self.delimiter) {
            Some(at) => Err(self.open_quote_fault(at)),
            None => Ok(()),
        }
    }

    fn open_quote_fault(&self, at: usize) -> Fault {
        let before = &self.reader.get_ref().kept.bytes()[..at];
        let line = self.line() + count_line_ends(before, self.line_end);
        Fault::at_line(
            FaultReason::UnterminatedQuote,
            line,
            "a quote that opens on this line is never closed",
        )
    }

    fn too_long(&self) -> Fault {
        let detail = format!("a record is longer than {MAX_RECORD_BYTES} bytes");
        Fault::at_line(FaultReason::RecordTooLong, self.line(), detail)
    }

    /// What a failed read says.
    fn fault(&mut self, error: csv_async::Error) -> ReadError {
        self.reader.get_mut().kept.skip_blank();
        let error = match error.into_kind() {
            csv_async::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        };
        if let Some(fault) = object_fault(&error) {
            return ReadError::File(fault);
        }
        ReadError::File(match error.kind() {
            io::ErrorKind::FileTooLarge => {
                match find_open_quote(self.reader.get_ref().kept.bytes(), self.delimiter) {
                    Some(at) => self.open_quote_fault(at),
                    None => self.too_long(),
                }
            }
            io::ErrorKind::ConnectionAborted => return ReadError::Source(error),
            _ => Fault { line: Some(self.line()), ..decompression_fault(&error) },
        })
    }
}
