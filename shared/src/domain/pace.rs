//! Whether long work will be done in the time that is left, at the pace that it has had.

use super::step::{StepError, StepErrorKind, StepResult};
use std::time::{Duration, Instant};

/// Before this the pace says little.
const WARM_UP: Duration = Duration::from_secs(20);

/// Work that is done in parts. What can't finish is given up early: an aborted transaction of 14 minutes is 14 minutes of dead rows.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    /// For the message: `inserting`.
    doing: &'static str,
    /// For the message: `rows`.
    units: &'static str,
    advice: &'static str,
    measured: Measured,
}

impl Pace {
    /// Begins now. `budget`: the time that there is for `all` units of work. `advice`: what to do if that is too little.
    pub fn start(
        doing: &'static str,
        all: i64,
        units: &'static str,
        budget: Duration,
        advice: &'static str,
    ) -> Self {
        Self { started: Instant::now(), doing, units, advice, measured: Measured::new(all, budget) }
    }

    /// Notes how much is done. Fails with `TimeBudgetExceeded` if the rest takes too long at the pace so far, and with `Transient` if
    /// only a stall has cost the time: the repetition has all of it.
    pub fn check(&mut self, done: i64) -> StepResult<()> {
        let (doing, all, units) = (self.doing, self.measured.all, self.units);
        match self.measured.add(done, self.started.elapsed()) {
            Forecast::InTime => Ok(()),
            Forecast::TooSlow(rate) => {
                let message = format!(
                    "{doing} {all} {units} at {rate:.0} {units}/s takes longer than the function may run; {}",
                    self.advice
                );
                Err(StepError::new(StepErrorKind::TimeBudgetExceeded, message))
            }
            Forecast::Stalled(stall) => {
                let message = format!(
                    "{doing} {all} {units} stood still for {:.0} s, and the rest of the time is too short",
                    stall.as_secs_f64()
                );
                Err(StepError::new(StepErrorKind::Transient, message))
            }
        }
    }
}

/// What will become of the work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Forecast {
    /// As far as can be told.
    InTime,
    /// It can't be done in a whole budget, at this pace in units per second.
    TooSlow(f64),
    /// Its pace is good enough, but one part took so long that there is too little time for the rest.
    Stalled(Duration),
}

/// What is known of the pace. The part that took longest does not count: it may have met an outage, which says nothing about the
/// other parts.
#[derive(Debug)]
pub struct Measured {
    all: i64,
    budget: Duration,
    done: i64,
    elapsed: Duration,
    longest: (i64, Duration),
}

impl Measured {
    /// Nothing is done yet of so many units.
    pub fn new(all: i64, budget: Duration) -> Self {
        Self { all, budget, done: 0, elapsed: Duration::ZERO, longest: (0, Duration::ZERO) }
    }

    /// Notes how much is done after how long.
    pub fn add(&mut self, done: i64, elapsed: Duration) -> Forecast {
        let part = (done - self.done, elapsed.saturating_sub(self.elapsed));
        if part.1 > self.longest.1 {
            self.longest = part;
        }
        (self.done, self.elapsed) = (done, elapsed);
        self.forecast()
    }

    fn forecast(&self) -> Forecast {
        let (stalled, stall) = self.longest;
        let seconds = (self.elapsed - stall).as_secs_f64();
        let is_over = self.elapsed >= self.budget;
        if self.elapsed <= WARM_UP || self.done >= self.all {
            return Forecast::InTime;
        }
        if self.done <= stalled || seconds <= 0.0 {
            // Nothing is known but the one part.
            return if is_over { Forecast::Stalled(stall) } else { Forecast::InTime };
        }
        let rate = (self.done - stalled) as f64 / seconds;
        let needed = |units: i64| units as f64 / rate;
        if needed(self.all) > self.budget.as_secs_f64() {
            Forecast::TooSlow(rate)
        } else if self.elapsed.as_secs_f64() + needed(self.all - self.done) > self.budget.as_secs_f64() {
            Forecast::Stalled(stall)
        } else {
            Forecast::InTime
        }
    }
}
