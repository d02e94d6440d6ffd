//! How large a function may be, built as it is deployed.

use std::path::Path;

use crate::{Context, Result, functions, generate::grouped, say};

/// No executable may be larger, in bytes: a cold start fetches and maps it.
pub const BUDGET: u64 = 12_000_000;
/// The function that links the most. To build one takes a minute and all of them ten, so the tests look at this one;
/// `cargo xtask bench --cold` looks at all, and says when another has become larger.
pub const LARGEST: &str = "import-jobs";

/// Builds the largest function; whether it is within the budget.
pub fn run() -> Result<bool> {
    let built = functions::build_release(&[LARGEST.to_owned()])?;
    let mut good = true;
    for (name, path) in built {
        let bytes = of(&path)?;
        good &= bytes <= BUDGET;
        say::line(format!("{name} has {} bytes, {} are allowed", grouped(bytes), grouped(BUDGET)));
    }
    Ok(good)
}

/// The size of an executable in bytes.
pub fn of(executable: &Path) -> Result<u64> {
    Ok(std::fs::metadata(executable).context(|| format!("look at {}", executable.display()))?.len())
}
