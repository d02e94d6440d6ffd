//! Follows a job through the API, shows its progress and measures the duration of each phase.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::api::Api;
use super::job::Job;
use super::live::{LiveLine, describe};
use crate::{Error, Result, interrupt, say};

const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long the job may take to appear after the manifest's upload: an event, a cold start, a transaction.
const APPEARANCE_LIMIT: Duration = Duration::from_secs(90);
/// A job without progress for this long is stuck. No retry waits as long.
const PROGRESS_LIMIT: Duration = Duration::from_secs(300);
/// The same for a job that waits for another import: longer than the sweep's period.
const BLOCKED_LIMIT: Duration = Duration::from_secs(900);
const SWEEP_INTERVAL: Duration = Duration::from_secs(20);
/// A job that takes longer has failed, even if it makes progress.
const TOTAL_LIMIT: Duration = Duration::from_secs(3600);

/// The seconds of each phase, in the order of the phases.
#[derive(Clone, Debug, Default)]
pub(super) struct Phases(Vec<(String, f64)>);

impl Phases {
    /// Adds time to a phase. A phase that occurs twice has the sum.
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
    /// Closes imports that have no heartbeat.
    sweep: &'a dyn Fn() -> Result<()>,
    pub phases: Phases,
}

impl<'a> Watch<'a> {
    pub(super) fn new(api: &'a Api, sweep: &'a dyn Fn() -> Result<()>) -> Self {
        Self { api, sweep, phases: Phases::default() }
    }

    /// Waits for a job of the merchant that is not among `known`. Prefers the one whose source has `batch`.
    pub(super) fn wait_for_job(
        &mut self,
        merchant_id: &str,
        known: &BTreeSet<String>,
        batch: &str,
    ) -> Result<Job> {
        let started = Instant::now();
        let mut line = LiveLine::new();
        while started.elapsed() < APPEARANCE_LIMIT {
            pause()?;
            let mut jobs = self.api.imports(merchant_id)?;
            jobs.retain(|job| !known.contains(&job.job_id));
            let named = jobs.iter().position(|job| job.source.to_string().contains(batch));
            if let Some(at) = named.or((!jobs.is_empty()).then_some(0)) {
                line.clear();
                self.phases.add("start", started.elapsed());
                return Ok(jobs.swap_remove(at));
            }
            line.show("", "waiting for the event of the upload to start the import");
        }
        line.clear();
        Err(Error::advice(format!(
            "no import started within {} s of the manifest's upload; did the event reach the state machine?",
            APPEARANCE_LIMIT.as_secs()
        )))
    }

    /// Follows the job until `reached` is true of it.
    pub(super) fn follow(&mut self, job_id: &str, reached: impl Fn(&Job) -> bool) -> Result<Job> {
        let started = Instant::now();
        let mut line = LiveLine::new();
        let mut moved = Instant::now();
        let mut polled = Instant::now();
        let mut last = String::new();
        let mut status = String::new();
        let mut swept: Option<Instant> = None;
        loop {
            let job = self.api.import(job_id)?;
            // The time since the last poll belongs to the phase that was seen then.
            let since = std::mem::replace(&mut polled, Instant::now());
            let phase = if status.is_empty() { job.status.as_str() } else { status.as_str() };
            self.phases.add(phase, polled - since);
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
            if job.is_blocked() && swept.is_none_or(|last| last.elapsed() > SWEEP_INTERVAL) {
                if swept.is_none() {
                    line.clear();
                    say::line(
                        "Waiting for another import of this merchant. If it belongs to a stack that was stopped, \
                         the sweep closes it within two minutes.",
                    );
                }
                // A failure only costs time, because the sweep also runs on a schedule.
                let _ = (self.sweep)();
                swept = Some(Instant::now());
            }
            let patience = if job.is_blocked() { BLOCKED_LIMIT } else { PROGRESS_LIMIT };
            if moved.elapsed() > patience || started.elapsed() > TOTAL_LIMIT {
                line.clear();
                return Err(Error::advice(format!("import {job_id} makes no progress: {text}")));
            }
            line.show(&job.status, &text);
            pause()?;
        }
    }
}

/// Waits until the next poll. Fails on an interrupt.
fn pause() -> Result<()> {
    interrupt::wait_until(POLL_INTERVAL, || Ok(false)).map(drop)
}
