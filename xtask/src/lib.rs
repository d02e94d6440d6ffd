//! The developer's commands as a library: `cargo xtask` is a thin shell over it, and tests and benches
//! start their private PostgreSQL with the same code.
pub mod demo;
pub mod error;
pub mod generate;
pub mod say;

pub use error::{Context, Error, Result};
