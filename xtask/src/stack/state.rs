//! `state.json`: what `up` remembers for `down` and for the next `up`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deploy::{Deployment, Login};
use crate::engine::Engine;
use crate::postgres::{Pooler, Postgres};
use crate::process::Identity;
use crate::{Context, Error, Result, interrupt, project, say};

/// The processes of a stack, and what the next start should use again.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// The stack's directory when this was written.
    directory: PathBuf,
    pub postgres: Option<Postgres>,
    pub pooler: Option<Pooler>,
    pub engine: Option<Engine>,
    /// A hash of the files that the running engine was started from.
    pub engine_code: String,
    pub deployed: Option<Deployed>,
    pub logins: Vec<Login>,
    /// The ports of the last start. The next start takes them again if they are free.
    pub postgres_port: Option<u16>,
    pub pooler_port: Option<u16>,
    pub engine_port: Option<u16>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deployed {
    /// The engine that was deployed to. A new engine is empty.
    pub engine: Identity,
    pub fingerprint: String,
    pub deployment: Deployment,
}

impl State {
    /// Reads what is remembered; that is nothing if the file is missing or another version of xtask wrote it.
    pub(super) fn load(directory: &Path) -> Self {
        let text = fs::read(path(directory)).unwrap_or_default();
        let mut state: Self = serde_json::from_slice(&text).unwrap_or_default();
        // The processes may have ended since, by a reboot or by hand.
        state.postgres = state.postgres.filter(|it| it.process.is_alive());
        state.pooler = state.pooler.filter(|it| it.process.is_alive());
        state.engine = state.engine.filter(|it| it.process.is_alive());
        if state.directory == directory { state } else { state.leave_elsewhere() }
    }

    /// The state of a checkout that was moved or copied together with its `target/`. A copy leaves the original's
    /// processes alone. After a move nobody else would stop them.
    fn leave_elsewhere(mut self) -> Self {
        if !self.directory.exists() {
            self.stop_engine();
            self.stop_postgres();
        }
        Self::default()
    }

    pub(super) fn save(&mut self, directory: &Path) -> Result<()> {
        self.directory = directory.to_path_buf();
        let text = serde_json::to_vec_pretty(self).context(|| "write state.json")?;
        project::write_atomically(&path(directory), &text)
    }

    pub(super) fn stop_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }

    /// Stops the pooler and the server behind it.
    pub(super) fn stop_postgres(&mut self) {
        if let Some(pooler) = self.pooler.take() {
            pooler.stop();
        }
        if let Some(postgres) = self.postgres.take() {
            postgres.stop();
        }
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("state.json")
}

/// Lets one command at a time work on a directory; the others wait. The lock ends when the file is dropped.
pub(super) fn lock(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory.join("logs")).context(|| format!("create {}", directory.display()))?;
    lock_file(&directory.join("lock"))
}

/// The same by a file that may lie elsewhere.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.context(|| format!("open {}", path.display()))?;
    // Not `wait_until`, which an interrupt ends: `down` must still run after one.
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    let mut announced = false;
    let locked = interrupt::wait_until(Duration::from_secs(3600), || {
        let taken = file.try_lock().is_ok();
        if !taken && !announced {
            say::line(format_args!(
                "Waiting for another `cargo xtask` that has locked {} ...",
                path.display()
            ));
            announced = true;
        }
        Ok(taken)
    })?;
    if locked {
        Ok(file)
    } else {
        Err(Error::advice(format!("another `cargo xtask` kept {} locked for an hour", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_checkout_does_not_take_the_original_s_processes_for_its_own() {
        let scratch = std::env::temp_dir().join(format!("onceload-state-{}", std::process::id()));
        let (original, copy) = (scratch.join("original"), scratch.join("copy"));
        fs::create_dir_all(&original).unwrap();
        fs::create_dir_all(&copy).unwrap();
        let mut state = State { postgres_port: Some(5432), ..State::default() };
        state.save(&original).unwrap();
        fs::copy(path(&original), path(&copy)).unwrap();
        assert_eq!(State::load(&original).postgres_port, Some(5432));
        assert_eq!(State::load(&copy).postgres_port, None);
        fs::remove_dir_all(&scratch).unwrap();
    }
}
