//! What a part of the sweep has done, and what has failed on the way. A failure keeps nothing else from being done.

use shared::db::DbResult;
use shared::domain::step::{StepError, StepResult, list_causes};
use std::fmt::Display;

/// How many failures of a part the sweep's own error names.
const NAMED: usize = 3;

/// The tally of one part.
#[derive(Debug)]
pub(crate) struct Tally {
    part: &'static str,
    /// How much was done.
    pub(crate) done: usize,
    failures: Vec<String>,
}

impl Tally {
    /// Nothing is done yet.
    pub(crate) fn of(part: &'static str) -> Self {
        Self { part, done: 0, failures: Vec::new() }
    }

    /// Notes what became of one job or task.
    pub(crate) fn add(&mut self, what: impl Display, done: StepResult<bool>) {
        match done {
            Ok(done) => self.done += usize::from(done),
            Err(error) => self.fail(format!("{what}: {error}"), &error),
        }
    }

    /// Notes what became of many.
    pub(crate) fn count(&mut self, done: StepResult<usize>) {
        match done {
            Ok(done) => self.done += done,
            Err(error) => self.fail(error.to_string(), &error),
        }
    }

    /// What is to be done; nothing, if it could not be found out.
    pub(crate) fn list<T>(&mut self, found: DbResult<Vec<T>>) -> Vec<T> {
        found.map_err(StepError::from).unwrap_or_else(|error| {
            self.fail(error.to_string(), &error);
            Vec::new()
        })
    }

    /// Notes a failure.
    fn fail(&mut self, failure: String, error: &StepError) {
        let (part, causes) = (self.part, list_causes(error));
        tracing::warn!(part, failure, causes, "the sweep goes on without it");
        self.failures.push(failure);
    }

    /// The failures in words, if there are any.
    pub(crate) fn describe_failures(&self) -> Option<String> {
        let named: Vec<_> = self.failures.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.failures.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!named.is_empty()).then(|| format!("{}: {}{more}", self.part, named.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_are_named_and_the_others_counted() {
        let mut tally = Tally::of("staging");
        tally.add("job 1", Ok(true));
        assert_eq!(tally.describe_failures(), None);
        for job in 2..=6 {
            tally.add(format!("job {job}"), Err(StepError::internal("no")));
        }
        let said = "staging: job 2: no, job 3: no, job 4: no and 2 more";
        assert_eq!((tally.done, tally.describe_failures().as_deref()), (1, Some(said)));
    }
}
