//! Takes a running stack's servers away and brings them back, on the same ports and in the same `state.json`, so that `down` still
//! finds them.

use std::path::Path;
use std::time::Duration;

use super::lock;
use super::state::State;
use crate::postgres::{self, Pooler, Postgres, Settings};
use crate::{Error, Result, interrupt};

/// The stack's PostgreSQL, and the pooler in front of it if there is one.
pub fn servers(directory: &Path) -> Result<(Postgres, Option<Pooler>)> {
    let state = State::load(directory);
    let postgres = state.postgres.ok_or_else(|| not_running(directory))?;
    Ok((postgres, state.pooler))
}

/// Stops only the stack's PostgreSQL, in order. [`start_database`](super::start_database) and [`start_pooler`](super::start_pooler) start it again, on the same ports.
pub fn stop_database(directory: &Path) -> Result<()> {
    let _lock = lock(directory)?;
    let mut state = State::load(directory);
    if let Some(postgres) = state.postgres.take() {
        postgres.stop();
    }
    state.save(directory)
}

/// Stops the server without a checkpoint, as a crash does, and starts it again after `pause`. It comes back without the rows of
/// unlogged tables.
pub fn crash_database(directory: &Path, settings: &Settings, pause: Duration) -> Result<Postgres> {
    let _lock = lock(directory)?;
    let mut state = State::load(directory);
    let crashed = state.postgres.clone().ok_or_else(|| not_running(directory))?;
    crashed.stop_at_once();
    interrupt::wait_until(pause, || Ok(false))?;
    let started = postgres::start(&crashed.directory, Some(crashed.port), settings)?;
    state.postgres = Some(started.clone());
    state.save(directory)?;
    if started.port == crashed.port {
        Ok(started)
    } else {
        Err(Error::advice(format!("another process took port {} of the database", crashed.port)))
    }
}

/// Stops the pooler, which cuts its clients' connections, and starts it again.
pub fn restart_pooler(directory: &Path) -> Result<()> {
    let _lock = lock(directory)?;
    let mut state = State::load(directory);
    let (Some(postgres), Some(pooler)) = (state.postgres.clone(), state.pooler.clone()) else {
        return Err(not_running(directory));
    };
    pooler.stop();
    let started = Pooler::start(&postgres, Some(pooler.port))?;
    let moved = started.port != pooler.port;
    state.pooler = Some(started);
    state.save(directory)?;
    if moved { Err(Error::advice("another process took the pooler's port")) } else { Ok(()) }
}

fn not_running(directory: &Path) -> Error {
    Error::advice(format!("no servers run in {}", directory.display()))
}
