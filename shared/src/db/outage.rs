//! What the log says of an outage of the database: a line when it begins, one a minute while it lasts, and how long it was once it
//! is over. A Lambda environment serves one invocation at a time, and speaks for itself.

use super::error::DbError;
use crate::domain::step::list_causes;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(60);

static OUTAGE: Mutex<Outage> = Mutex::new(Outage(None));

/// An outage as one environment sees it.
#[derive(Debug, Default)]
pub struct Outage(Option<Lasting>);

#[derive(Debug)]
struct Lasting {
    since: Instant,
    said: Instant,
    failures: u32,
}

impl Outage {
    /// Counts a failure. Returns how long the outage has lasted and how many there were, if it is time to say so.
    pub fn fail(&mut self, now: Instant) -> Option<(Duration, u32)> {
        let Some(lasting) = &mut self.0 else {
            self.0 = Some(Lasting { since: now, said: now, failures: 1 });
            return Some((Duration::ZERO, 1));
        };
        lasting.failures += 1;
        if now.duration_since(lasting.said) < PAUSE {
            return None;
        }
        lasting.said = now;
        Some((now.duration_since(lasting.since), lasting.failures))
    }

    /// Ends the outage. Returns how long it was and how many failures there were, if there was one.
    pub fn end(&mut self, now: Instant) -> Option<(Duration, u32)> {
        self.0.take().map(|lasted| (now.duration_since(lasted.since), lasted.failures))
    }
}

fn outage() -> MutexGuard<'static, Outage> {
    OUTAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that the database was away, and says so at most once a minute.
pub fn note(error: &DbError) {
    let Some((lasted, failures)) = outage().fail(Instant::now()) else { return };
    let (what, causes, seconds) = (error.describe(), list_causes(error), lasted.as_secs());
    tracing::warn!(
        what,
        causes,
        seconds,
        failures,
        "the database is away; imports go on by themselves when it is back"
    );
}

/// Notes that the database has done what it was asked.
pub fn end() {
    let Some((lasted, failures)) = outage().end(Instant::now()) else { return };
    tracing::warn!(seconds = lasted.as_secs(), failures, "the database is back");
}
