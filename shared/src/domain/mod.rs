//! Pure rules: no I/O, no clock, no SQL.

pub mod buckets;
pub mod community;
pub mod csv_text;
pub mod fault;
pub mod idempotency;
pub mod ids;
pub mod job;
pub mod key;
pub mod layout;
pub mod pace;
pub mod row;
pub mod slug;
pub mod source;
pub mod step;
pub mod task;
pub mod upload;
