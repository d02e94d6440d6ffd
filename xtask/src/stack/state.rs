//! What `up` remembers for `down` and for the next `up`: `state.json` beside `stack.json`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deploy::{Deployment, Login};
use crate::engine::Engine;
use crate::postgres::{Pooler, Postgres};
use crate::process::Identity;
use crate::{Context, Error, Result, interrupt, project, say};

/// Processes that were started, and things that should be the same next time.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub postgres: Option<Postgres>,
    pub pooler: Option<Pooler>,
    pub engine: Option<Engine>,
    /// What the running engine was started from.
    pub engine_code: String,
    pub deployed: Option<Deployed>,
    pub logins: Vec<Login>,
    /// The ports of last time, taken again if they are free.
    pub postgres_port: Option<u16>,
    pub pooler_port: Option<u16>,
    pub engine_port: Option<u16>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deployed {
    /// An engine that was started anew knows nothing.
    pub engine: Identity,
    pub fingerprint: String,
    pub deployment: Deployment,
}

impl State {
    /// What is remembered; nothing if nothing is, or if another version of us wrote it.
    pub fn load(directory: &Path) -> Self {
        let mut state: Self = fs::read(path(directory))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        // After a reboot, or after somebody else stopped them.
        state.postgres = state.postgres.filter(|it| it.process.is_alive());
        state.pooler = state.pooler.filter(|it| it.process.is_alive());
        state.engine = state.engine.filter(|it| it.process.is_alive());
        state
    }

    pub fn save(&self, directory: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context(|| "write state.json")?;
        project::write_atomically(&path(directory), &text)
    }

    pub fn stop_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }

    /// The server, and what stands before it.
    pub fn stop_postgres(&mut self) {
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

/// One of us at a time works on a directory; the others wait. Ends when the value goes.
pub(super) fn lock(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory.join("logs")).context(|| format!("create {}", directory.display()))?;
    let path = directory.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.context(|| format!("open {}", path.display()))?;
    // Without a look at interrupts: `down` after one must get through.
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    let mut told = false;
    let locked = interrupt::wait_until(Duration::from_secs(3600), || {
        let taken = file.try_lock().is_ok();
        if !taken && !told {
            say::line(format_args!(
                "Waiting for another `cargo xtask` that works on {} ...",
                directory.display()
            ));
            told = true;
        }
        Ok(taken)
    })?;
    if locked { Ok(file) } else { Err(Error::advice(format!("{} stays locked", directory.display()))) }
}
