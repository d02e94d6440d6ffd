//! The developer's commands as a library: `cargo xtask` is a thin shell over it, and tests and benches
//! start their private PostgreSQL with the same code.
mod apt;
mod aws;
pub mod bench;
pub mod contract;
pub mod demo;
mod dependencies;
pub mod deploy;
pub mod engine;
pub mod error;
mod functions;
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
pub mod stack;
pub mod test;

pub use error::{Context, Error, Result};
