//! The database: all SQL. One folder per table, with its statements beside it.
//!
//! Every statement stands in a file `<room>/<verb>.sql` and begins with its name, so that it shows in the server's log;
//! only per-job staging tables, whose names are composed, have theirs in `staging/`, and references to codes, whose foreign
//! keys the catalogue names, in `codes/`. Everything works through a pooler in transaction mode: unnamed statements, `SET
//! LOCAL`, COPY only inside a transaction.

pub mod adoption;
mod binary;
pub mod bind;
pub mod chunks;
pub mod codes;
pub mod communities;
pub mod connection;
pub mod copy;
mod decode;
pub mod error;
pub mod files;
pub mod guarded;
pub mod idempotency_keys;
pub mod jobs;
pub mod merchants;
pub mod migrate;
pub mod migration_jobs;
pub mod outage;
pub mod outbox;
pub mod pool;
pub mod progress;
pub mod rejects;
pub mod staging;
pub mod statement;
pub mod tasks;
pub mod transaction;
pub mod uploads;
pub mod user_profiles;
pub mod users;

pub use connection::{Connection, Session};
pub use error::{ASK_AGAIN, Cause, DbError, DbResult, SPLIT, within_budget};
pub use guarded::Guarded;
pub use pool::{Database, Usage};
pub use statement::Statement;
pub use transaction::{Limits, Transaction};

/// Every statement with a fixed text, room by room. A test prepares each against the migrated schema.
pub const STATEMENTS: [&[Statement]; 18] = [
    adoption::STATEMENTS,
    chunks::STATEMENTS,
    codes::STATEMENTS,
    communities::STATEMENTS,
    files::STATEMENTS,
    idempotency_keys::STATEMENTS,
    jobs::STATEMENTS,
    merchants::STATEMENTS,
    migration_jobs::STATEMENTS,
    outbox::STATEMENTS,
    pool::STATEMENTS,
    progress::STATEMENTS,
    rejects::STATEMENTS,
    staging::tables::STATEMENTS,
    tasks::STATEMENTS,
    uploads::STATEMENTS,
    user_profiles::STATEMENTS,
    users::STATEMENTS,
];
