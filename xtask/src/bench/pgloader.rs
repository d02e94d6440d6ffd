//! Finds pgloader, which the benchmark compares the load with, or installs it.

use std::path::PathBuf;

use crate::{Error, Result, apt};

/// Finds the installed pgloader, or installs Debian's package.
pub fn find_pgloader() -> Result<PathBuf> {
    if let Some(found) = find_installed() {
        return Ok(found);
    }
    apt::install(&["pgloader"], "the benchmark compares the load with pgloader, which is not installed")?;
    find_installed().ok_or_else(|| Error::advice("found no pgloader in PATH"))
}

fn find_installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|it| it.join("pgloader")).find(|it| it.is_file())
}
