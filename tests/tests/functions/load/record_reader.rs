//! The reader of records: fields, raw bytes, physical lines, blank lines, and what it can't read.

use proptest::prelude::*;
use shared::csv::decompress::Bytes;
use shared::csv::records::{Next, ReadError, Records};
use shared::csv::row::Record;
use shared::domain::fault::{Fault, FaultReason};
use shared::domain::layout::LineEnd;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// The longest record, as docs/ARCHITECTURE.md says.
const MAX_RECORD_BYTES: usize = 1024 * 1024;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
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
        let mut records = Records::new(stream(bytes), b',', LineEnd::Lf);
        let (mut seen, mut blank) = (Vec::new(), 0);
        while records.next().await.map_err(file_fault)? == Next::Record {
            blank += records.blank_lines();
            let fields = records.fields().iter().map(<[u8]>::to_vec).collect();
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
    let fault = block_on(Records::new(Box::pin(Endless(0)), b',', LineEnd::Lf).next())
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
