//! Draws the kind of the next record without replacement, so that the totals are exact.

use super::plan::Plan;
use super::random::Random;

/// The kind of a record, with the index of its code (see [`super::codes::Codes`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first occurrence of a code that is not in production.
    Clean(u64),
    /// The first occurrence of a code that is in production.
    Existing(u64),
    /// A repetition of a `Clean` code.
    Internal(u64),
    /// A repetition of an `Existing` code.
    Both(u64),
    /// A rejected record. It has a code of this batch or of production, so that counting it would change the counts.
    Rejected(u64),
    Skipped,
}

/// Positions in `left`. The first four kinds are staged.
const CLEAN: usize = 0;
const EXISTING: usize = 1;
const INTERNAL: usize = 2;
const BOTH: usize = 3;
const REJECTED: usize = 4;
const SKIPPED: usize = 5;

/// The state of the draw: how many records of each kind are left, and how many codes have occurred.
pub(super) struct Sequence {
    random: Random,
    left: [u64; 6],
    files_left: u64,
    production: u64,
    existing_codes: u64,
    clean_done: u64,
    existing_done: u64,
}

impl Sequence {
    /// Starts the draw. `plan` must have passed its check.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut left = [0; 6];
        left[CLEAN] = plan.clean();
        left[EXISTING] = plan.existing_codes();
        left[INTERNAL] = plan.internal - plan.both;
        left[BOTH] = plan.both;
        left[REJECTED] = plan.rejects;
        left[SKIPPED] = plan.skipped;
        Self {
            random: Random::new(plan.seed, 2),
            left,
            files_left: plan.files,
            production: plan.production,
            existing_codes: plan.existing_codes(),
            clean_done: 0,
            existing_done: 0,
        }
    }

    /// Draws the first record of the next file. It is always a staged one, so that every file has one.
    pub(super) fn first_of_file(&mut self) -> Kind {
        self.files_left -= 1;
        self.draw(0..4)
    }

    /// Draws the next record of the current file. Keeps one staged record for each remaining file.
    pub(super) fn next_of_file(&mut self) -> Kind {
        let staged: u64 = self.left[..4].iter().sum();
        if staged > self.files_left { self.draw(0..6) } else { self.draw(4..6) }
    }

    fn draw(&mut self, kinds: std::ops::Range<usize>) -> Kind {
        let total: u64 = self.left[kinds.clone()].iter().sum();
        let mut ticket = self.random.below(total);
        let mut kind = kinds.start;
        for candidate in kinds {
            kind = candidate;
            if ticket < self.left[candidate] {
                break;
            }
            ticket -= self.left[candidate];
        }
        // A repetition needs an earlier occurrence. Before there is one, draw a first occurrence instead.
        match kind {
            INTERNAL if self.clean_done == 0 => kind = CLEAN,
            BOTH if self.existing_done == 0 => kind = EXISTING,
            _ => {}
        }
        self.left[kind] -= 1;
        match kind {
            CLEAN => {
                self.clean_done += 1;
                Kind::Clean(self.clean(self.clean_done - 1))
            }
            EXISTING => {
                self.existing_done += 1;
                Kind::Existing(self.existing(self.existing_done - 1))
            }
            INTERNAL => {
                let earlier = self.pick_earlier(self.clean_done);
                Kind::Internal(self.clean(earlier))
            }
            BOTH => {
                let earlier = self.pick_earlier(self.existing_done);
                Kind::Both(self.existing(earlier))
            }
            REJECTED => Kind::Rejected(self.random.next() % (self.production + self.clean_done + 1)),
            _ => Kind::Skipped,
        }
    }

    /// Picks an earlier occurrence, and sometimes one of the first eight, so that some codes repeat often.
    fn pick_earlier(&mut self, done: u64) -> u64 {
        let among = if self.random.one_in(16) { done.min(8) } else { done };
        self.random.below(among)
    }

    fn clean(&self, n: u64) -> u64 {
        self.production + n
    }

    /// Spreads the existing codes evenly over production. They are distinct, because production has at least as many.
    fn existing(&self, n: u64) -> u64 {
        (u128::from(n) * u128::from(self.production) / u128::from(self.existing_codes)) as u64
    }
}
