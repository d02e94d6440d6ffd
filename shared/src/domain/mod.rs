//! Pure rules and types: no I/O, no clock, no SQL.

pub mod actor;
pub mod buckets;
pub mod execution;
pub mod fault;
pub mod field;
pub mod file_name;
pub mod idempotency;
pub mod ids;
pub mod json;
pub mod key;
pub mod late;
pub mod layout;
pub mod lease;
pub mod message;
pub mod object;
pub mod pace;
pub mod phase;
pub mod remark;
pub mod row;
pub mod source;
pub mod status;
pub mod step;
pub mod task;
pub mod token;
pub mod warning;
