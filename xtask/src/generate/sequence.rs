//! Which kind of record comes next: a draw without replacement, so that the totals are exact.

use super::plan::Plan;
use super::random::Random;

/// What the next record is. The number is the index of its code (see [`super::codes::Codes`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// First occurrence of a code that production does not have.
    Clean(u64),
    /// First occurrence of a code that production has.
    Existing(u64),
    /// A repetition of a `Clean` one.
    Internal(u64),
    /// A repetition of an `Existing` one.
    Both(u64),
    /// Carries a code of this batch or of production, so that counting it would show.
    Rejected(u64),
    Skipped,
}

/// Positions in `left` and `STAGED`: the first four are staged.
const CLEAN: usize = 0;
const EXISTING: usize = 1;
const INTERNAL: usize = 2;
const BOTH: usize = 3;
const REJECTED: usize = 4;
const SKIPPED: usize = 5;

/// The state of the draw: six counters of what is still to come, and two of what was.
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
    /// `plan` has passed its check.
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

    /// The first record of the next file: always one that is staged, so that no file is without any.
    pub(super) fn first_of_file(&mut self) -> Kind {
        self.files_left -= 1;
        self.draw(0..4)
    }

    /// The next record of the current file. One staged record is kept back for each file to come.
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
        // A repetition needs something to repeat: until there is, its place goes to a first occurrence.
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
                let earlier = self.earlier(self.clean_done);
                Kind::Internal(self.clean(earlier))
            }
            BOTH => {
                let earlier = self.earlier(self.existing_done);
                Kind::Both(self.existing(earlier))
            }
            REJECTED => Kind::Rejected(self.random.next() % (self.production + self.clean_done + 1)),
            _ => Kind::Skipped,
        }
    }

    /// Mostly any earlier one, sometimes one of the first few, which so come up again and again.
    fn earlier(&mut self, done: u64) -> u64 {
        let among = if self.random.one_in(16) { done.min(8) } else { done };
        self.random.below(among)
    }

    fn clean(&self, n: u64) -> u64 {
        self.production + n
    }

    /// Spreads the codes that occur over all of production; distinct, as there are at least as many.
    fn existing(&self, n: u64) -> u64 {
        (u128::from(n) * u128::from(self.production) / u128::from(self.existing_codes)) as u64
    }
}
