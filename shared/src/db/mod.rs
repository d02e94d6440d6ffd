//! The database: all SQL and all transactions.
//!
//! Every statement stands in `sql/<name>.sql` and begins with its name, so that it shows in the server's log;
//! only per-job staging tables, whose names are composed, have theirs in `staging.rs`. Everything works through
//! a pooler in transaction mode: unnamed statements, `SET LOCAL`, COPY only inside a transaction.

pub mod chunks;
pub mod claims;
pub mod close;
pub mod communities;
pub mod decisions;
pub mod error;
pub mod expired_keys;
pub mod files;
pub mod idempotency;
pub mod insert;
pub mod jobs;
pub mod maintenance;
pub mod mark;
pub mod migrate;
pub mod outbox;
pub mod pool;
pub mod read;
pub mod report;
pub mod rollback;
pub mod rows;
pub mod sql;
pub mod staging;
pub mod sweep;
pub mod tasks;
pub mod transaction;
pub mod uploads;
pub mod users;
pub mod validate;
pub mod verify;
pub mod watch;

pub use error::{DbError, DbResult};
pub use pool::{Connection, Database};
pub use tokio_postgres::Client;
pub use transaction::Transaction;
