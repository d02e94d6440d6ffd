//! Reads any bytes as a file, and checks what must hold whatever they are. Used by the fuzzer, and by a test of the fuzzer's
//! corpus.

use shared::csv::layout::read_layout;
use shared::csv::records::ReadError;
use shared::csv::rows::Rows;
use shared::domain::fault::Fault;
use shared::domain::field::Mapping;
use shared::domain::ids::MerchantId;
use shared::domain::layout::Compression;
use shared::domain::row::MAX_TEXT_BYTES;
use shared::domain::warning::{Findings, SAMPLE_BYTES};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use uuid::Uuid;

/// What a file came to.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    /// Each record's number, line, and the row or the reject.
    records: Vec<String>,
    findings: Findings,
    skipped: i64,
}

/// Text that comes in pieces of at most so many bytes.
struct Pieces {
    text: Vec<u8>,
    at: usize,
    size: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = (self.at + self.size.min(buf.remaining())).min(self.text.len());
        buf.put_slice(&self.text[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

async fn read(text: &[u8], piece: usize) -> Result<Read, Fault> {
    let layout = read_layout(text, true, Compression::None, &Mapping::new()).await?;
    let source = Pieces { text: text.to_vec(), at: 0, size: piece };
    let mut rows = Rows::new(Box::pin(source), &layout, MerchantId(Uuid::nil()), 1000);
    let (mut records, mut staged, mut rejected, mut last) = (Vec::new(), 0, 0, (0, 0));
    loop {
        match rows.next().await {
            Ok(true) => {}
            Ok(false) => break,
            Err(ReadError::File(fault)) => return Err(fault),
            Err(ReadError::Source(error)) => panic!("nothing broke off: {error}"),
        }
        let place = (rows.number(), rows.line());
        assert!(place > last && place.1 > last.1 || last.1 == 0, "{place:?} comes after {last:?}");
        last = place;
        let reject = match rows.row() {
            Ok(row) => {
                staged += 1;
                assert!(
                    (1..=MAX_TEXT_BYTES).contains(&row.code.len()) && !row.code.contains(char::is_control)
                );
                records.push(format!("{place:?} {row:?}"));
                continue;
            }
            Err(reject) => reject,
        };
        rejected += 1;
        records.push(format!("{place:?} {reject:?} {:?}", rows.raw()));
        rows.count_reject(&reject)?;
    }
    let findings = rows.findings();
    assert_eq!(rows.number(), staged + rejected + rows.skipped(), "records = staged + rejected + skipped");
    assert_eq!(findings.rejected_by_reason.values().sum::<i64>(), rejected);
    assert!(findings.warnings.iter().all(|w| w.count > 0 && w.sample.len() <= SAMPLE_BYTES));
    assert!(findings.warnings.is_sorted_by(|a, b| a.reason < b.reason));
    Ok(Read { records, findings, skipped: rows.skipped() })
}

/// Reads a file whole and in pieces, whose size the first byte gives: nothing panics, everything adds up, and both are the
/// same.
///
/// # Panics
/// If one of that does not hold.
pub fn check(bytes: &[u8]) {
    let Some((&piece, text)) = bytes.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let whole = runtime.block_on(read(text, usize::MAX));
    let in_pieces = runtime.block_on(read(text, usize::from(piece) + 1));
    assert_eq!(whole, in_pieces);
}
