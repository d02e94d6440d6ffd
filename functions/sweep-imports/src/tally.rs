//! What a part of the sweep has done, and what has failed on the way. A failure keeps nothing else from being done.

use shared::db::DbResult;
use shared::domain::step::{StepError, StepResult, list_causes};
use std::fmt::Display;

/// How many failures of a part the sweep's own error names.
const NAMED: usize = 3;

/// The tally of one part.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How much was done.
    pub(crate) done: usize,
    failures: Vec<String>,
}

impl Tally {
    /// Notes what became of one job, task or message.
    pub(crate) fn add(&mut self, what: impl Display, done: StepResult<bool>) {
        match done {
            Ok(done) => self.done += usize::from(done),
            Err(error) => self.fail(what, &error),
        }
    }

    /// Notes what became of many.
    pub(crate) fn count(&mut self, what: &str, done: StepResult<usize>) {
        match done {
            Ok(done) => self.done += done,
            Err(error) => self.fail(what, &error),
        }
    }

    /// What is to be done; nothing, if it could not be found out.
    pub(crate) fn list<T>(&mut self, what: &str, found: DbResult<Vec<T>>) -> Vec<T> {
        found.unwrap_or_else(|error| {
            self.fail(what, &error.into());
            Vec::new()
        })
    }

    /// Notes a failure.
    fn fail(&mut self, what: impl Display, error: &StepError) {
        tracing::warn!(%what, %error, causes = list_causes(error), "the sweep goes on without it");
        self.failures.push(format!("{what}: {error}"));
    }

    /// The failures in words, if there are any.
    pub(crate) fn describe_failures(&self, part: &str) -> Option<String> {
        let named: Vec<_> = self.failures.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.failures.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!named.is_empty()).then(|| format!("{part}: {}{more}", named.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_are_named_and_the_others_counted() {
        let mut tally = Tally::default();
        tally.add("job 1", Ok(true));
        assert_eq!(tally.describe_failures("staging"), None);
        for job in 2..=6 {
            tally.add(format!("job {job}"), Err(StepError::internal("no")));
        }
        let said = "staging: job 2: no, job 3: no, job 4: no and 2 more";
        assert_eq!((tally.done, tally.describe_failures("staging").as_deref()), (1, Some(said)));
    }
}
