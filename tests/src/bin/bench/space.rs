//! Whether the server's disk has room for a run, found out before it begins.
//!
//! An import is at its largest while it inserts: production, staging, staging's clean rows in order, the new codes and the log. Its
//! files are gone by then, unless another run needs them.

use crate::Outcome;
use crate::database::{Server, number, text};
use std::path::Path;
use std::process::Command;
use xtask::generate::{Plan, grouped};

/// Bytes of a row in each, by docs/BENCHMARK.md ("Disk").
const FILE: u64 = 50;
const STAGED: u64 = 118;
/// With its indexes and in the log: in our table, and in an adopted one.
const CODE: (u64, u64) = (214, 285);
const ADOPTED_CODE: (u64, u64) = (420, 800);
/// In the table without an index that measures the limit of the insert.
const BARE: u64 = 140;

/// What a run is, as far as its size depends on it.
pub(crate) struct Sized<'a> {
    pub plan: &'a Plan,
    pub is_adopted: bool,
    pub has_limit: bool,
    pub keeps_files: bool,
}

impl Sized<'_> {
    /// Bytes at its largest. `max_log`: `max_wal_size`.
    fn bytes(&self, max_log: u64) -> u64 {
        let Self { plan, is_adopted, has_limit, keeps_files } = *self;
        let codes = plan.production + plan.clean();
        let (code, logged) = if is_adopted { ADOPTED_CODE } else { CODE };
        let file = if keeps_files { FILE } else { 0 };
        let beside = if has_limit { STAGED.max(BARE) } else { STAGED };
        plan.rows * (file + STAGED) + codes * code + plan.clean() * beside + (codes * logged).min(max_log)
    }
}

/// Fails if the run would fill the disk.
pub(crate) async fn check(server: &Server, run: &Sized<'_>) -> Outcome<()> {
    let admin = server.administer("postgres").await?;
    let directory = text(&admin, "SELECT current_setting('data_directory')").await?;
    let max_log = number(&admin, "SELECT pg_size_bytes(current_setting('max_wal_size'))").await?;
    let (needed, free) = (run.bytes(max_log), free(Path::new(&directory))?);
    let megabytes = |bytes: u64| grouped(bytes / 1_000_000);
    println!("disk: about {} MB needed, {} MB free", megabytes(needed), megabytes(free));
    if free < needed {
        return Err("the disk has too little room: take fewer rows, one run, or `--without limit`".into());
    }
    Ok(())
}

/// Bytes that are free on the disk of a directory, by df(1).
fn free(directory: &Path) -> Outcome<u64> {
    let output = Command::new("df").args(["-P", "-k"]).arg(directory).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let kib = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| format!("df says nothing of {}", directory.display()))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::Sized;
    use xtask::generate::Plan;

    #[test]
    fn fifty_million_rows_fit_on_thirty_gigabytes_without_the_limit() {
        let plan = Plan::workload_of(50_000_000);
        let run = Sized { plan: &plan, is_adopted: false, has_limit: false, keeps_files: false };
        assert!(run.bytes(4 << 30) < 30_000_000_000);
        let adopted = Sized { is_adopted: true, ..run };
        assert!(adopted.bytes(4 << 30) > 30_000_000_000);
    }
}
