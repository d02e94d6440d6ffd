//! Every function on a real PostgreSQL and a real S3 protocol, each test on a database of its own.

// Clippy's allowance for tests ends at their helper functions.
#![allow(clippy::unwrap_used)]

mod ahead;
mod bad_files;
mod bad_requests;
mod check;
mod clear;
mod communities;
mod decisions;
mod doors;
mod expired_keys;
mod exports;
mod idempotency;
mod kill;
mod legacy;
mod loader;
mod lost;
mod maintenance_http;
mod migrations;
mod moved;
mod queue;
mod rejects_export;
mod rollback;
mod schema;
mod skew;
mod state_machine;
mod sweep;
mod thaw;
mod uploads;
mod values;
mod verify;
mod whole;
