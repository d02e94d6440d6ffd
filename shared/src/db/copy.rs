//! COPY: only inside a transaction, its statement gone before the transaction ends.

use super::connection::{Flight, Session};
use super::error::{DbError, DbResult};
use super::transaction::Transaction;
use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt};
use std::pin::{Pin, pin};
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::Type;
use tokio_postgres::{CopyOutStream, Error};

/// Sends one buffer, and returns how many rows the server took.
pub(super) async fn copy_in(
    tx: &Transaction<'_>,
    operation: &'static str,
    sql: &str,
    data: Bytes,
) -> DbResult<u64> {
    let link = tx.link();
    let client = link.client()?;
    let sent = async {
        let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await?);
        sink.send(data).await?;
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
        let part = self.tx.link().wait_for_part(self.operation, self.stream.next()).await?;
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
