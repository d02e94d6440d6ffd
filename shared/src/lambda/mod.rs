//! What every function is made of: configuration, clients, invocations, counters, and delivery of messages.

#![expect(
    clippy::disallowed_methods,
    reason = "a function's environment and time limit are read in this room only"
)]

pub mod app;
pub mod clients;
mod delay;
pub mod deliver;
pub mod executions;
pub mod metrics;
pub mod serve;
pub mod task;

pub use app::{App, Config, MAX_DECOMPRESSED_BYTES};
pub use serve::{Budget, serve_step};
