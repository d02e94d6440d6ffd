//! Codes that a rollback has locked. A lock that is taken without waiting comes first, then, in a later statement and
//! therefore with a later snapshot, the look for references: a transaction that adds one locks the code until its commit shows.

use super::references::Production;
use super::{Range, to_count};
use crate::db::error::DbResult;
use crate::db::statement::Composed;
use crate::db::transaction::Transaction;
use crate::domain::ids::{JobId, MerchantId};

/// The codes of one job that are locked and not deleted yet, in a table that only this transaction sees.
pub struct Locked<'a> {
    production: &'a Production,
    job: JobId,
    merchant: MerchantId,
    all: bool,
    table: String,
}

impl<'a> Locked<'a> {
    /// None yet. `all`: claimed codes are due, too. Call `close` before the transaction ends.
    pub async fn open(
        tx: &Transaction<'_>,
        production: &'a Production,
        job: JobId,
        merchant: MerchantId,
        all: bool,
    ) -> DbResult<Self> {
        let table = format!("onceload_staging.k_{}", job.0.simple());
        tx.run(
            "codes.open_locked",
            &format!("-- codes.open_locked\nCREATE UNLOGGED TABLE {table} (address tid NOT NULL)"),
        )
        .await?;
        Ok(Self { production, job, merchant, all, table })
    }

    /// Drops the table.
    pub async fn close(self, tx: &Transaction<'_>) -> DbResult<()> {
        tx.run("codes.close_locked", &format!("-- codes.close_locked\nDROP TABLE {}", self.table)).await
    }

    /// Locks what is due of the job, or of a part of the heap, and deletes what nothing references. Passes over what is locked by
    /// others. Returns how many were locked and how many of them deleted.
    pub async fn delete(&self, tx: &Transaction<'_>, within: Option<&Range>) -> DbResult<(i64, i64)> {
        tx.run("codes.unlock", &format!("-- codes.unlock\nTRUNCATE {}", self.table)).await?;
        let range = within.map_or(String::new(), |range| {
            format!("ctid >= '{}' AND ctid < '{}' AND ", range.from, range.to)
        });
        let lock = Composed {
            name: "codes.lock",
            sql: format!(
                "-- codes.lock
INSERT INTO {} SELECT ctid FROM onceload.codes
 WHERE {range}import_job_id = $1 AND merchant_id = $2 AND ($3 OR claimed IS NOT TRUE) FOR UPDATE SKIP LOCKED",
                self.table,
            ),
        };
        let locked = to_count(lock.name, lock.run_many(tx, &[&self.job, &self.merchant, &self.all]).await?)?;
        let delete = Composed {
            name: "codes.delete_locked",
            // Claimed is looked at again: it may be told from another table, where no lock keeps it as it is.
            sql: format!(
                "-- codes.delete_locked
DELETE FROM onceload.codes WHERE ctid = ANY (ARRAY({})) AND ($1 OR claimed IS NOT TRUE)",
                self.production.select_unreferenced(&self.table, within),
            ),
        };
        let deleted =
            if locked == 0 { 0 } else { to_count(delete.name, delete.run_many(tx, &[&self.all]).await?)? };
        Ok((locked, deleted))
    }
}
