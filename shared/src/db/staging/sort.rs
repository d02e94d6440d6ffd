//! The clean rows of a chunk in order of code, in a table of their own.

use super::insert::select_clean;
use super::tables::{code_columns, drop_matching, sorted_table};
use crate::db::error::DbResult;
use crate::db::statement::Composed;
use crate::db::transaction::Transaction;
use crate::domain::buckets::Chunk;
use crate::domain::ids::JobId;
use std::fmt;
use uuid::Uuid;

/// One run of the insert: 32 random bits in the names of its tables, so that it never meets those of another run, which
/// may still be alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortRun(u32);

impl SortRun {
    /// A new run.
    pub fn random() -> Self {
        let [.., a, b, c, d] = Uuid::now_v7().into_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

impl fmt::Display for SortRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Writes the clean rows of a chunk, in order of code, into a table of this run.
pub async fn sort_clean(tx: &Transaction<'_>, job: JobId, chunk: &Chunk, run: SortRun) -> DbResult<()> {
    let mut binds = Vec::new();
    let rows = select_clean(job, chunk, &code_columns(), &mut binds);
    let table = sorted_table(job, run, chunk.number);
    let statement = Composed {
        name: "staging.sort",
        sql: format!(
            "-- staging.sort\nCREATE UNLOGGED TABLE {table} WITH (autovacuum_enabled = off) AS {rows} ORDER BY b.code"
        ),
    };
    statement.run_many(tx, &binds).await.map(drop)
}

/// Drops the job's sorted tables: those of this run, or of any.
pub async fn drop_sorted(tx: &Transaction<'_>, job: JobId, run: Option<SortRun>) -> DbResult<()> {
    let run = run.map(|run| format!("{run}_")).unwrap_or_default();
    drop_matching(tx, &format!("^s_{}_{run}", job.0.simple())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_eight_digits_and_its_own() {
        assert_eq!(SortRun(0xbeef).to_string(), "0000beef");
        assert_ne!(SortRun::random(), SortRun::random());
    }
}
