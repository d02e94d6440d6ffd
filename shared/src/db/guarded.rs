//! The outcome of a guarded statement that a unique index may refuse.

use super::error::DbResult;
use tokio_postgres::Row;

/// The unique index that is the merchant's lease.
pub const MERCHANT_LEASE: &str = "codes_import_jobs_merchant_lease";
/// The unique index that lets one job at a time import the same source.
pub const ACTIVE_SOURCE: &str = "codes_import_jobs_active_source";
/// The unique index that lets one migration at a time run the same mapping on the same content.
pub const ACTIVE_MIGRATION: &str = "migration_jobs_one_active";

/// What became of the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded<T> {
    /// It was written.
    Done(T),
    /// Its guard did not hold: no such job, not one of the actor's, or in another state.
    NotAllowed,
    /// Another import holds the merchant's lease.
    MerchantBusy,
    /// Another job imports the same source.
    SourceActive,
}

impl<T> Guarded<T> {
    /// Reads the outcome of `Transaction::run_refusable`.
    pub(super) fn read(outcome: DbResult<Option<Row>>, done: impl FnOnce(&Row) -> T) -> DbResult<Self> {
        match outcome {
            Ok(Some(row)) => Ok(Self::Done(done(&row))),
            Ok(None) => Ok(Self::NotAllowed),
            Err(error) => match error.constraint() {
                Some(MERCHANT_LEASE) => Ok(Self::MerchantBusy),
                Some(ACTIVE_SOURCE | ACTIVE_MIGRATION) => Ok(Self::SourceActive),
                _ => Err(error),
            },
        }
    }
}
