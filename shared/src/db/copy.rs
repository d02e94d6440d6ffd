//! COPY: only inside a transaction, its statement gone before the transaction ends.

use super::binary::{HEADER, Values};
use super::connection::{Flight, Session};
use super::error::{DbError, DbResult};
use super::transaction::Transaction;
use bytes::{Buf, Bytes};
use futures_util::{FutureExt, SinkExt, Stream, StreamExt};
use std::pin::{Pin, pin};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;
use tokio_postgres::{CopyOutStream, Error};

/// The driver copies what it is given to send: so much at a time.
const PART_BYTES: usize = 256 * 1024;

/// Sends one buffer, and returns how many rows the server took.
pub(super) async fn copy_in(
    tx: &Transaction<'_>,
    operation: &'static str,
    sql: &str,
    mut data: Bytes,
) -> DbResult<u64> {
    let link = tx.link();
    let client = link.client()?;
    let sent = async {
        let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await?);
        while !data.is_empty() {
            sink.send(data.split_to(data.len().min(PART_BYTES))).await?;
        }
        sink.finish().await
    };
    link.ask(operation, sent).await
}

async fn copy_out(tx: &Transaction<'_>, operation: &'static str, sql: &str) -> DbResult<CopyOutStream> {
    let link = tx.link();
    link.ask(operation, link.client()?.copy_out(sql)).await
}

/// What COPY sends, part by part. Read to the end, or the connection is given up.
pub struct CopyOut<'a, S> {
    tx: &'a Transaction<'a>,
    operation: &'static str,
    stream: Pin<Box<S>>,
    flight: Option<Flight<'a>>,
}

impl<'a, T, S: Stream<Item = Result<T, Error>>> CopyOut<'a, S> {
    fn new(tx: &'a Transaction<'_>, operation: &'static str, stream: S) -> Self {
        Self { tx, operation, stream: Box::pin(stream), flight: Some(tx.link().begin_flight()) }
    }

    /// The next part.
    pub async fn next(&mut self) -> DbResult<Option<T>> {
        // Most parts are here already: no clock is set for them.
        let part = match self.stream.next().now_or_never() {
            Some(part) => part,
            None => self.tx.link().wait_for_part(self.operation, self.stream.next()).await?,
        };
        land_at_end(self.operation, part, &mut self.flight)
    }
}

/// Lines of CSV as they come from the server: one message is one row (PostgreSQL documentation, message flow, "COPY
/// Operations").
pub type Lines<'a> = CopyOut<'a, CopyOutStream>;

impl<'a> Lines<'a> {
    /// Begins to read what a COPY with FORMAT csv sends.
    pub(super) async fn read(
        tx: &'a Transaction<'_>,
        operation: &'static str,
        sql: &str,
    ) -> DbResult<Lines<'a>> {
        Ok(Self::new(tx, operation, copy_out(tx, operation, sql).await?))
    }
}

/// Rows in PostgreSQL's binary format.
pub(super) type BinaryRows<'a> = CopyOut<'a, BinaryCopyOutStream>;

impl<'a> BinaryRows<'a> {
    /// Begins to read what a COPY with FORMAT binary sends.
    pub(super) async fn read_binary(
        tx: &'a Transaction<'_>,
        operation: &'static str,
        sql: &str,
        types: &[Type],
    ) -> DbResult<BinaryRows<'a>> {
        let stream = BinaryCopyOutStream::new(copy_out(tx, operation, sql).await?, types);
        Ok(Self::new(tx, operation, stream))
    }
}

/// Rows in PostgreSQL's binary format, value by value, without a copy of them.
pub(super) struct Tuples<'a> {
    parts: CopyOut<'a, CopyOutStream>,
    part: Bytes,
    begun: bool,
}

impl<'a> Tuples<'a> {
    /// Begins to read what a COPY with FORMAT binary sends.
    pub(super) async fn read(
        tx: &'a Transaction<'_>,
        operation: &'static str,
        sql: &str,
    ) -> DbResult<Tuples<'a>> {
        let parts = CopyOut::new(tx, operation, copy_out(tx, operation, sql).await?);
        Ok(Self { parts, part: Bytes::new(), begun: false })
    }

    /// The values of the next row.
    pub(super) async fn next(&mut self) -> DbResult<Option<Values<'_>>> {
        loop {
            let Some(mut part) = self.parts.next().await? else { return Ok(None) };
            // The header comes with the first row or, if there is none, with the trailer.
            if !std::mem::replace(&mut self.begun, true) {
                part.advance(HEADER.len().min(part.len()));
            }
            self.part = part;
            if Values::has_row(&self.part) {
                break;
            }
        }
        Ok(Some(Values::of_row(&self.part)))
    }
}

/// After the last part, or an error of the server, no more answers are on their way.
fn land_at_end<T>(
    operation: &'static str,
    part: Option<Result<T, Error>>,
    flight: &mut Option<Flight<'_>>,
) -> DbResult<Option<T>> {
    let part = part.transpose().map_err(|error| DbError::postgres(operation, error));
    let over = match &part {
        Ok(part) => part.is_none(),
        Err(error) => !error.ends_connection(),
    };
    if over && let Some(flight) = flight.take() {
        flight.land();
    }
    part
}
