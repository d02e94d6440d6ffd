//! Where things are: the repository, its `target/`, its functions.

use std::path::{Path, PathBuf};

use crate::{Context, Result};

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// What the developer's commands make goes under here, also when cargo builds elsewhere.
pub fn target() -> PathBuf {
    root().join("target")
}

/// The stack of `cargo xtask up`.
pub fn local() -> PathBuf {
    target().join("local")
}

/// The functions' package names, which are their directories, in order.
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

/// Cargo itself, as the toolchain file wants it.
pub fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Writes a file so that a reader sees the old text or the new one, and only we may read it.
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
