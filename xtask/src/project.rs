//! Finds the checkout and its directories.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{Context, Error, Result};

/// The checkout's root directory.
///
/// # Panics
///
/// Panics outside a checkout. `main` calls [`find_root`] first and reports that as an error.
pub fn root() -> PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| find_root().unwrap_or_else(|error| panic!("{error}"))).clone()
}

/// Finds the checkout that cargo was started in, or else the one around the current directory.
///
/// Looks when the command runs: a checkout may be moved or copied together with its compiled `xtask`.
pub fn find_root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let current = std::env::current_dir().context(|| "find the current directory")?;
    let found = package.iter().chain([&current]).find_map(|directory| enclosing_checkout(directory));
    found.ok_or_else(|| {
        Error::advice(format!("{} is not inside a checkout of Onceload: change to one", current.display()))
    })
}

/// The nearest directory above `directory`, or itself, that holds the workspace and its `xtask`.
fn enclosing_checkout(directory: &Path) -> Option<PathBuf> {
    let is_checkout = |candidate: &&Path| {
        let manifest = std::fs::read_to_string(candidate.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim() == "[workspace]")
            && candidate.join("xtask/Cargo.toml").is_file()
    };
    directory.ancestors().find(is_checkout).map(Path::to_path_buf)
}

/// The directory for what the developer's commands make, even when cargo builds elsewhere.
pub fn target() -> PathBuf {
    root().join("target")
}

/// The directory of the stack that `cargo xtask up` starts.
pub fn local() -> PathBuf {
    target().join("local")
}

/// The directory of the stack of `cargo xtask demo --adopt`.
pub fn adopted() -> PathBuf {
    target().join("adopted")
}

/// Lists the functions' packages in order; a package has the name of its directory.
pub fn functions() -> Result<Vec<String>> {
    let directory = root().join("functions");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory).context(|| format!("list {}", directory.display()))? {
        let entry = entry.context(|| format!("list {}", directory.display()))?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A command that runs cargo in the checkout, with the toolchain that runs us.
pub fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Replaces a file atomically: a reader sees the old text or the new text. Only its owner may read it.
pub fn write_atomically(path: &Path, text: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let partial = path.with_extension("partial");
    let write = || {
        let mut file =
            std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is removed at the end of the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("onceload-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_checkout_is_found_from_any_directory_inside_it() {
        let scratch = Scratch::new("checkout");
        scratch.write("moved/Cargo.toml", "[workspace]\nmembers = []\n");
        scratch.write("moved/xtask/Cargo.toml", "[package]\n");
        scratch.write("moved/functions/load-staging/src/lib.rs", "");
        let checkout = scratch.0.join("moved");
        for inside in ["", "xtask", "functions/load-staging/src"] {
            assert_eq!(enclosing_checkout(&checkout.join(inside)), Some(checkout.clone()), "from {inside:?}");
        }
    }

    #[test]
    fn another_workspace_is_not_taken_for_a_checkout() {
        let scratch = Scratch::new("elsewhere");
        scratch.write("Cargo.toml", "[workspace]\nmembers = []\n");
        scratch.write("src/lib.rs", "");
        assert_eq!(enclosing_checkout(&scratch.0.join("src")), None);
    }

    #[test]
    fn the_tests_work_on_the_checkout_that_cargo_runs_them_in() {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for every test");
        assert_eq!(root().join("xtask"), PathBuf::from(package));
    }
}
