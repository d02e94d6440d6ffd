//! Reads every second bucket of a job on a connection of its own, each in a short transaction.

use crate::marks::{Marks, Part, Rows};
use shared::db::staging::export::{copy_duplicates, copy_report};
use shared::db::{ASK_AGAIN, Connection, Limits, within_budget};
use shared::domain::step::StepResult;
use shared::lambda::{App, Budget};
use tokio::sync::mpsc::Sender;

/// Lines are handed on in batches of so many bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// How many batches a lane may be ahead: 8 MiB.
pub(crate) const BATCHES: usize = 32;

/// Lines of one bucket.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) text: Vec<u8>,
    pub(crate) rows: i64,
    /// The next batch is of the lane's next bucket.
    pub(crate) is_last: bool,
}

/// The buckets that are read one after the other.
pub(crate) struct Lane<'a> {
    pub(crate) app: &'a App,
    pub(crate) marks: &'a Marks,
    pub(crate) rows: Rows,
    pub(crate) parts: Vec<&'a Part>,
    pub(crate) budget: Budget,
}

impl Lane<'_> {
    /// Reads them all.
    pub(crate) async fn read(self, to: Sender<Batch>) -> StepResult<()> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let mut connection = self.app.db.connection().await?;
        for part in &self.parts {
            let read = self.copy(&mut connection, part, &to).await?;
            self.marks.check_count(&connection, part, self.rows, read).await?;
        }
        Ok(())
    }

    /// Hands on the lines of one bucket. Returns how many there were.
    async fn copy(&self, connection: &mut Connection, part: &Part, to: &Sender<Batch>) -> StepResult<i64> {
        let tx = connection.begin("export", Limits::bulk(self.budget.left())).await?;
        let bucket = self.marks.bucket(part);
        let lines = match self.rows {
            Rows::Duplicates => copy_duplicates(&tx, bucket).await,
            Rows::All => copy_report(&tx, bucket).await,
        };
        let mut lines = lines.map_err(|error| match error.is_missing_table() {
            true => self.marks.lose_table(),
            false => error.into(),
        })?;
        let (mut handed_on, mut rows, mut text) = (0, 0, Vec::with_capacity(BATCH_BYTES));
        while let Some(line) = within_budget("the export", ASK_AGAIN, lines.next().await)? {
            if text.len() + line.len() > BATCH_BYTES {
                let full = std::mem::replace(&mut text, Vec::with_capacity(BATCH_BYTES));
                hand_on(to, Batch { text: full, rows, is_last: false }).await;
                handed_on += rows;
                rows = 0;
            }
            text.extend_from_slice(&line);
            rows += 1;
        }
        hand_on(to, Batch { text, rows, is_last: true }).await;
        drop(lines);
        tx.commit().await?;
        Ok(handed_on + rows)
    }
}

/// Waits until there is room.
async fn hand_on(to: &Sender<Batch>, batch: Batch) {
    // Whoever no longer receives has failed, and says why.
    to.send(batch).await.ok();
}
