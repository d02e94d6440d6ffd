//! Follows a job through the API, shows how far it is, and keeps how long each phase took.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::api::Api;
use super::job::Job;
use super::live::{LiveLine, describe};
use crate::{Error, Result, interrupt, say};

const EVERY: Duration = Duration::from_millis(500);
/// From the manifest's upload to the job: an event, a cold start, a transaction.
const TO_APPEAR: Duration = Duration::from_secs(90);
/// A job that shows the same for so long is stuck: longer than any retry waits.
const TO_MOVE: Duration = Duration::from_secs(300);
/// One that another import holds up has more time: longer than the sweep's period.
const HELD_UP: Duration = Duration::from_secs(900);
const SWEEP_EVERY: Duration = Duration::from_secs(20);
/// However long a job may move, it ends by then.
const TO_END: Duration = Duration::from_secs(3600);

/// Seconds per phase, in the order in which the phases came.
#[derive(Clone, Debug, Default)]
pub(super) struct Phases(Vec<(String, f64)>);

impl Phases {
    /// Adds to a phase; the same phase twice is one.
    pub(super) fn add(&mut self, phase: &str, time: Duration) {
        let seconds = time.as_secs_f64();
        match self.0.iter_mut().find(|(name, _)| name == phase) {
            Some((_, sum)) => *sum += seconds,
            None => self.0.push((phase.to_owned(), seconds)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, seconds)| (name.as_str(), *seconds))
    }
}

pub(super) struct Watch<'a> {
    api: &'a Api,
    /// Closes imports that nobody works on any more.
    sweep: &'a dyn Fn() -> Result<()>,
    pub phases: Phases,
}

impl<'a> Watch<'a> {
    pub(super) fn new(api: &'a Api, sweep: &'a dyn Fn() -> Result<()>) -> Self {
        Self { api, sweep, phases: Phases::default() }
    }

    /// Waits for a job of the merchant that is not among `known`; the one that names `batch` if there are more.
    pub(super) fn appears(
        &mut self,
        merchant_id: &str,
        known: &BTreeSet<String>,
        batch: &str,
    ) -> Result<Job> {
        let started = Instant::now();
        let mut line = LiveLine::new();
        while started.elapsed() < TO_APPEAR {
            pause()?;
            let mut jobs = self.api.imports(merchant_id)?;
            jobs.retain(|job| !known.contains(&job.job_id));
            let named = jobs.iter().position(|job| job.source.to_string().contains(batch));
            if let Some(at) = named.or((!jobs.is_empty()).then_some(0)) {
                line.clear();
                self.phases.add("start", started.elapsed());
                return Ok(jobs.swap_remove(at));
            }
            line.show("", "waiting for the upload's event to start an import");
        }
        line.clear();
        Err(Error::advice(format!(
            "no import appeared within {} s of the manifest's upload; did the event reach the state machine?",
            TO_APPEAR.as_secs()
        )))
    }

    /// Follows the job until it is where it should be.
    pub(super) fn until(&mut self, job_id: &str, reached: impl Fn(&Job) -> bool) -> Result<Job> {
        let started = Instant::now();
        let mut line = LiveLine::new();
        let mut moved = Instant::now();
        let mut looked = Instant::now();
        let mut last = String::new();
        let mut status = String::new();
        let mut swept: Option<Instant> = None;
        loop {
            let job = self.api.import(job_id)?;
            // What passed since the last look belongs to what was seen then.
            let since = std::mem::replace(&mut looked, Instant::now());
            let phase = if status.is_empty() { job.status.as_str() } else { status.as_str() };
            self.phases.add(phase, looked - since);
            status.clone_from(&job.status);
            let text = describe(&job);
            if reached(&job) {
                line.clear();
                return Ok(job);
            }
            if text != last {
                moved = Instant::now();
                last.clone_from(&text);
            }
            if job.is_held_up() && swept.is_none_or(|last| last.elapsed() > SWEEP_EVERY) {
                if swept.is_none() {
                    line.clear();
                    say::line(
                        "Another import of this merchant goes first. If a stack that was stopped has left it behind, \
                         it is closed after two minutes of silence.",
                    );
                }
                // The schedule does it too: a failure here only costs time.
                let _ = (self.sweep)();
                swept = Some(Instant::now());
            }
            let patience = if job.is_held_up() { HELD_UP } else { TO_MOVE };
            if moved.elapsed() > patience || started.elapsed() > TO_END {
                line.clear();
                return Err(Error::advice(format!("import {job_id} does not move any more: {text}")));
            }
            line.show(&job.status, &text);
            pause()?;
        }
    }
}

/// Until the next look; an interrupt ends it.
fn pause() -> Result<()> {
    interrupt::wait_until(EVERY, || Ok(false)).map(drop)
}
