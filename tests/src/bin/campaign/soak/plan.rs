//! What is done and what fails, and when: all of it comes from the seed, before anything runs. The same seed gives the same plan;
//! what comes of it depends on the machine as well.

use super::random::Random;
use crate::gate::Act;
use serde::Serialize;

pub(crate) const MERCHANTS: u64 = 4;
pub(crate) const USERS: u64 = 2;
/// Codes of a merchant come from so many, so that imports overlap.
const CODES: u64 = 20_000;

/// One who acts, step after step.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub name: String,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// Not before so many milliseconds after the beginning.
    pub at: u64,
    #[serde(flatten)]
    pub deed: Deed,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "deed", rename_all = "snake_case")]
pub(crate) enum Deed {
    /// A file under `import/`, which starts an import.
    Upload {
        merchant: usize,
        file: File,
    },
    /// Files under `stage/` with a manifest.
    Batch {
        merchant: usize,
        files: Vec<File>,
    },
    /// A file under `uploads/`, and `POST /imports/queue-processing`.
    Queue {
        merchant: usize,
        user: usize,
        file: File,
        click: Click,
    },
    /// A file under `uploads/`, and `POST /migrations/run`.
    Migrate {
        merchant: usize,
        user: usize,
        file: File,
        click: Click,
    },
    /// One of the imports that the operation is for, if there is one.
    Operate {
        merchant: usize,
        user: usize,
        operation: Operation,
        pick: u64,
        click: Click,
    },
    /// `tag` tells one community from every other.
    Create {
        user: usize,
        name: u64,
        tag: String,
        click: Click,
    },
    Join {
        user: usize,
        pick: u64,
        click: Click,
    },
    Claim {
        merchant: usize,
        count: u64,
    },
    Look {
        merchant: usize,
        user: usize,
        pick: u64,
    },
    Fail {
        fault: Fault,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Approve,
    Cancel,
    Retry,
    LeaveOut,
    Replace,
    RollBack,
    Verify,
    ExportDuplicates,
    ExportReport,
    ExportRejects,
    Clear,
}

/// How a request is sent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Click {
    pub key: Option<String>,
    /// So many times at once.
    pub times: u64,
    /// Once more, later.
    pub again: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct File {
    pub name: String,
    pub from: u64,
    pub rows: u64,
    /// So many of the rows stand twice.
    pub doubled: u64,
    pub rejected: u64,
    /// The quotes of the last record are open: the file is refused.
    pub broken: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub(crate) enum Fault {
    Kill {
        count: u64,
        pick: u64,
    },
    Freeze {
        count: u64,
        pick: u64,
        seconds: u64,
    },
    StopExecution {
        pick: u64,
    },
    Crash {
        seconds: u64,
    },
    Stall {
        seconds: u64,
    },
    /// Every n-th connection of a function.
    Cut {
        every: u64,
    },
    /// The pooler starts anew, and the server behind it crashes, too.
    Pooler {
        server: bool,
    },
    Step {
        state: u64,
        act: Act,
    },
    RepeatEvent {
        pick: u64,
    },
}

/// The plan for so many minutes.
pub(crate) fn draw(seed: u64, minutes: u64, long: bool, pooled: bool) -> Vec<Lane> {
    let end = minutes * 60_000;
    let mut lanes = Vec::new();
    let mut add = |kind: &str, count: u64, pause: u64, deed: &dyn Fn(&mut Random, &str) -> Deed| {
        for n in 0..count {
            let name = format!("{kind}-{n}");
            // The lane's own stream of numbers, whatever the others do.
            let stream =
                name.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(131).wrapping_add(byte.into()));
            let mut random = Random::new(seed, stream);
            let (mut at, mut steps) = (random.below(pause), Vec::new());
            while at < end {
                let tag = format!("{name}-{}", steps.len());
                steps.push(Step { at, deed: deed(&mut random, &tag) });
                at += pause / 2 + random.below(pause);
            }
            lanes.push(Lane { name, steps });
        }
    };
    add("uploader", 1, 4_000, &upload);
    add("starter", 2, 7_000, &start);
    add("operator", 3, 1_500, &operate);
    add("page", 2, 2_500, &page);
    add("application", 1, 800, &|random, _| Deed::Claim {
        merchant: merchant(random),
        count: 1 + random.below(8),
    });
    add("fault", 2, 12_000, &|random, _| Deed::Fail { fault: fault(random, long, pooled) });
    lanes
}

fn merchant(random: &mut Random) -> usize {
    random.below(MERCHANTS) as usize
}

fn user(random: &mut Random) -> usize {
    random.below(USERS) as usize
}

fn click(random: &mut Random, tag: &str) -> Click {
    Click {
        key: (!random.one_in(4)).then(|| tag.to_owned()),
        times: if random.one_in(3) { 2 } else { 1 },
        again: random.one_in(4),
    }
}

fn file(random: &mut Random, name: &str) -> File {
    let rows = random.weighted(&[(4, 40), (4, 200), (1, 2_000)]);
    let rows = rows / 2 + random.below(rows);
    File {
        name: format!("{name}.csv"),
        from: random.below(CODES),
        rows,
        doubled: random.below(rows / 4 + 1),
        rejected: random.below(4),
        broken: random.one_in(12),
    }
}

fn upload(random: &mut Random, tag: &str) -> Deed {
    let merchant = merchant(random);
    if random.one_in(4) {
        let files = (0..2 + random.below(4)).map(|n| file(random, &format!("{tag}-{n}"))).collect();
        Deed::Batch { merchant, files }
    } else {
        Deed::Upload { merchant, file: file(random, tag) }
    }
}

fn start(random: &mut Random, tag: &str) -> Deed {
    let (merchant, user, file, click) =
        (merchant(random), user(random), file(random, tag), click(random, tag));
    if random.one_in(3) {
        Deed::Migrate { merchant, user, file, click }
    } else {
        Deed::Queue { merchant, user, file, click }
    }
}

fn operate(random: &mut Random, tag: &str) -> Deed {
    let operation = random.weighted(&[
        (14, Operation::Approve),
        (1, Operation::Cancel),
        (3, Operation::Retry),
        (2, Operation::LeaveOut),
        (2, Operation::Replace),
        (2, Operation::RollBack),
        (1, Operation::Verify),
        (1, Operation::ExportDuplicates),
        (1, Operation::ExportReport),
        (1, Operation::ExportRejects),
        (1, Operation::Clear),
    ]);
    Deed::Operate {
        merchant: merchant(random),
        user: user(random),
        operation,
        pick: random.next(),
        click: click(random, tag),
    }
}

fn page(random: &mut Random, tag: &str) -> Deed {
    let user = user(random);
    match random.below(5) {
        0 => Deed::Look { merchant: merchant(random), user, pick: random.next() },
        1 => Deed::Join { user, pick: random.next(), click: click(random, tag) },
        _ => Deed::Create { user, name: random.below(6), tag: tag.to_owned(), click: click(random, tag) },
    }
}

fn fault(random: &mut Random, long: bool, pooled: bool) -> Fault {
    let outage = if long { 10 + random.below(590) } else { random.below(20) };
    let kinds = [
        (5, Fault::Kill { count: 1 + random.below(4), pick: random.next() }),
        (2, Fault::Freeze { count: 1 + random.below(3), pick: random.next(), seconds: 1 + random.below(15) }),
        (2, Fault::StopExecution { pick: random.next() }),
        (2, Fault::Crash { seconds: outage }),
        (2, Fault::Stall { seconds: 1 + random.below(20) }),
        (3, Fault::Cut { every: 1 + random.below(3) }),
        (2, Fault::Step { state: random.next(), act: Act::Lose }),
        (1, Fault::Step { state: random.next(), act: Act::Fail }),
        (3, Fault::Step { state: random.next(), act: Act::Twice }),
        (2, Fault::RepeatEvent { pick: random.next() }),
        (if pooled { 2 } else { 0 }, Fault::Pooler { server: random.one_in(2) }),
    ];
    random.weighted(&kinds)
}

/// The states that can be hit, by the number of a plan.
pub(crate) fn state_of(number: u64) -> (&'static str, &'static str) {
    const STATES: [(&str, &str); 16] = [
        ("import", "Open"),
        ("import", "WaitForMerchant"),
        ("import", "LoadFile"),
        ("import", "PlanChunks"),
        ("import", "MarkChunk"),
        ("import", "Validate"),
        ("import", "WaitForApproval"),
        ("import", "InsertCodes"),
        ("import", "Verify"),
        ("import", "Close"),
        ("import", "CloseStopped"),
        ("import", "Continue"),
        ("maintenance", "Rollback"),
        ("maintenance", "Verify"),
        ("maintenance", "Export"),
        ("import", "LoadFile"),
    ];
    STATES[(number % STATES.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_plan_again_and_another_seed_draws_another() {
        let draw = |seed| serde_json::to_string(&all(seed)).unwrap();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn every_deed_and_every_fault_is_drawn() {
        let text = serde_json::to_string(&all(1)).unwrap();
        let names = [
            "upload",
            "batch",
            "queue",
            "migrate",
            "operate",
            "create",
            "join",
            "claim",
            "look",
            "kill",
            "freeze",
            "stop_execution",
            "crash",
            "stall",
            "cut",
            "pooler",
            "step",
            "repeat_event",
        ];
        for name in names {
            assert!(text.contains(&format!("\"{name}\"")), "{name}");
        }
    }

    #[test]
    fn outages_are_shorter_than_a_minute_unless_asked_for() {
        let longest = |long| {
            let steps = draw(3, 600, long, true).into_iter().flat_map(|lane| lane.steps);
            let seconds = steps.filter_map(|step| match step.deed {
                Deed::Fail { fault: Fault::Crash { seconds } | Fault::Stall { seconds } } => Some(seconds),
                _ => None,
            });
            seconds.max().unwrap()
        };
        assert!(longest(false) < 60 && (300..=600).contains(&longest(true)));
    }

    fn all(seed: u64) -> Vec<Vec<Step>> {
        draw(seed, 60, false, true).into_iter().map(|lane| lane.steps).collect()
    }
}
