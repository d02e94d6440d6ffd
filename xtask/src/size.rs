//! Checks the size of the largest function, built as it is deployed.

use std::path::Path;

use crate::{Context, Result, functions, generate::grouped, say};

/// The largest size of an executable in bytes. A cold start fetches and maps all of it.
pub(crate) const BUDGET: u64 = 12_000_000;
/// The largest function. Building one takes a minute and building all takes ten, so the tests check only this one.
/// `cargo xtask bench --cold` checks all of them, and reports when another has become the largest.
pub(crate) const LARGEST: &str = "import-jobs";

/// Builds the largest function and returns whether it is within the budget.
pub(crate) fn run() -> Result<bool> {
    let built = functions::build_release(&[LARGEST.to_owned()])?;
    let mut within = true;
    for (name, path) in built {
        let bytes = size_of(&path)?;
        within &= bytes <= BUDGET;
        say::line(format!("{name} has {} bytes; the budget is {} bytes", grouped(bytes), grouped(BUDGET)));
    }
    Ok(within)
}

/// The size of an executable in bytes.
pub(crate) fn size_of(executable: &Path) -> Result<u64> {
    Ok(std::fs::metadata(executable).context(|| format!("read the size of {}", executable.display()))?.len())
}
