//! Generates CSV files with known counts. A plan fixes every count of an import before the first byte is written. The
//! generator shares no code with the importer.
//!
//! ```no_run
//! use xtask::generate::{Plan, generate};
//! let plan = Plan { rows: 1_000, files: 3, internal: 20, existing: 280, both: 2, production: 400, ..Plan::workload() };
//! let expected = generate(&plan, std::path::Path::new("target/batch"))?;
//! assert_eq!(expected.clean, 702);
//! # Ok::<(), xtask::Error>(())
//! ```

mod args;
mod batch;
mod codes;
mod expected;
mod faults;
mod layout;
mod plan;
mod random;
mod record;
mod sequence;
mod sink;

#[cfg(test)]
mod recount;
#[cfg(test)]
mod tests;

pub use args::{GenerateArgs, Share, run};

pub use batch::{EXPECTED, MANIFEST, PRODUCTION, copy_lines, generate, generate_with};
pub use codes::Codes;
pub use expected::{Expected, ExpectedFile, grouped};
pub use faults::Fault;
pub use plan::{Compression, EXAMPLE_MERCHANT, Impossible, LayoutKind, Plan};
