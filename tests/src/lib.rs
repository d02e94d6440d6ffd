//! The base of the tests: a database for each test on a real PostgreSQL, an S3 with the real protocol on a loopback
//! port, and a driver that runs an import through the functions as the state machine does.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its environment and this machine's clock, and writes SQL of its own"
)]

pub mod any_bytes;
pub mod application;
pub mod aws;
pub mod call;
pub mod communities;
pub mod concurrency;
pub mod db;
mod decisions;
pub mod execution;
pub mod faults;
pub mod files;
pub mod fixture;
pub mod held;
pub mod http;
pub mod links;
pub mod maintenance;
pub mod objects;
pub mod proxy;
pub mod reports;
pub mod results;
pub mod server;
pub mod states;
pub mod wait;
pub mod wire;

pub use db::TestDb;
pub use execution::{Ended, Run, State};
pub use fixture::World;
pub use maintenance::{Maintenance, MaintenanceTask};
pub use objects::{Body, TestS3};
