//! The developer's commands as a library, which `cargo xtask`, the tests and the benchmark share.

#![warn(unreachable_pub, clippy::allow_attributes_without_reason)]
#![allow(
    clippy::disallowed_methods,
    reason = "a developer's command reads its environment and this machine's clock"
)]

mod apt;
mod aws;
pub mod bench;
pub mod contract;
pub mod demo;
mod dependencies;
pub mod deploy;
mod documents;
pub mod engine;
pub mod error;
pub mod faults;
mod functions;
pub mod fuzz;
pub mod generate;
pub mod interrupt;
pub mod lint;
mod node;
pub mod postgres;
pub mod process;
pub mod project;
pub mod provision;
pub mod python;
pub mod say;
mod size;
pub mod soak;
pub mod stack;
pub mod statemachine;
pub mod test;

pub use error::{Context, Error, Result};
