//! What the tests stand on: a database of its own per test on a real PostgreSQL, an S3 that speaks the real
//! protocol on a loopback port, and a driver that walks an import through the functions as the state machine does.

pub mod db;
pub mod drive;
pub mod fixture;
pub mod http;
pub mod objects;
pub mod server;
pub mod upkeep;

pub use db::TestDb;
pub use drive::{Ended, Run, State};
pub use fixture::Bench;
pub use objects::{Body, TestS3};
pub use upkeep::{Ask, Upkeep};
