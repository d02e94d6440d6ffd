//! Finds the installed PostgreSQL, or installs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Result, apt};

/// The oldest major version that Onceload supports.
pub(super) const OLDEST: u32 = 15;

/// An installation of PostgreSQL: the directory of its programs, and its major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    pub bin: PathBuf,
    pub major: u32,
}

impl Binaries {
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Finds the newest installation, or the one of a major version. Installs PostgreSQL if there is none.
    pub fn find(major: Option<u32>) -> Result<Self> {
        if let Some(found) = find_newest(major) {
            return Ok(found);
        }
        if let Some(major) = major {
            return Err(Error::advice(format!(
                "PostgreSQL {major} created the local database, but is not installed: install it, or remove the \
                 database with `cargo xtask down --wipe`"
            )));
        }
        apt::install(&["postgresql"], "PostgreSQL's programs are not installed (initdb, postgres, psql)")?;
        find_newest(None).ok_or_else(|| {
            Error::advice(format!(
                "found no PostgreSQL {OLDEST} or later; if it is installed in an unusual place, set ONCELOAD_PG_BIN \
                 to the directory of initdb"
            ))
        })
    }
}

fn find_newest(major: Option<u32>) -> Option<Binaries> {
    let mut found: Vec<Binaries> = candidates().iter().filter_map(|bin| inspect(bin)).collect();
    found.retain(|it| major.map_or(it.major >= OLDEST, |major| it.major == major));
    found.into_iter().max_by_key(|it| it.major)
}

/// Lists the directories where PostgreSQL's programs may be.
fn candidates() -> Vec<PathBuf> {
    if let Some(chosen) = std::env::var_os("ONCELOAD_PG_BIN") {
        return vec![chosen.into()];
    }
    let mut all: Vec<PathBuf> = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output() {
        all.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    for parent in ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt", "/usr"] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        all.extend(entries.flatten().map(|entry| entry.path().join("bin")));
    }
    all.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    all
}

/// The psql beside a server's programs, or else the one in PATH: some installations have none of their own.
pub fn find_psql(bin: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path));
    directories.map(|directory| directory.join("psql")).find(|program| program.is_file())
}

fn inspect(bin: &Path) -> Option<Binaries> {
    if !["initdb", "postgres"].iter().all(|program| bin.join(program).is_file()) {
        return None;
    }
    find_psql(bin)?;
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    Some(Binaries { bin: bin.to_path_buf(), major: major_of(&String::from_utf8_lossy(&output.stdout))? })
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` is 15.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn the_major_version_is_read_from_the_output_of_version() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("something else"), None);
    }
}
