//! Every state of both state machines with every fault. The states come from the ASL that is deployed: one that this file knows no
//! way to fails the run.

mod case;
mod faults;
mod nodes;
mod ways;

use crate::Outcome;
use crate::gate::Gate;
use crate::local::Local;
use case::Case;
use faults::Fault;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// So many cases at a time, if they disturb no others.
const LANES: usize = 3;

/// Runs every case that fits the texts. Returns whether all of them came to rest as they should.
pub(crate) async fn run(directory: &Path, state: Option<&str>, fault: Option<&str>) -> Outcome<bool> {
    let local = Local::connect(&directory.join("stack")).await?;
    let gate = Gate::new(&local.directory);
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for node in nodes::read()? {
        ways::check(&node)?;
        for kind in Fault::ALL {
            let case = Case { node: node.clone(), fault: kind };
            let fits = state.is_none_or(|text| node.to_string().contains(text))
                && fault.is_none_or(|text| kind.name() == text);
            if fits && case.makes_sense() {
                if kind.disturbs_others() { alone.push(case) } else { together.push(case) }
            }
        }
    }
    let (began, count) = (Instant::now(), alone.len() + together.len());
    println!("{count} cases");
    let mut failures = Vec::new();
    for case in alone {
        report(&case, case.run(&local, &gate).await, &mut failures);
    }
    let lanes = Arc::new(Semaphore::new(LANES));
    let mut running = tokio::task::JoinSet::new();
    for case in together {
        let (local, gate, lanes) = (local.clone(), gate.clone(), Arc::clone(&lanes));
        running.spawn(async move {
            let _lane = lanes.acquire().await;
            let outcome = case.run(&local, &gate).await;
            (case, outcome)
        });
    }
    while let Some(done) = running.join_next().await {
        let (case, outcome) = done?;
        report(&case, outcome, &mut failures);
    }
    println!("{} of {count} cases came to rest, in {} s", count - failures.len(), began.elapsed().as_secs());
    failures.iter().for_each(|failure| println!("FAILED {failure}"));
    Ok(failures.is_empty())
}

fn report(case: &Case, outcome: Outcome<String>, failures: &mut Vec<String>) {
    match outcome {
        Ok(note) => println!("ok      {case}: {note}"),
        Err(error) => {
            println!("FAILED  {case}: {error}");
            failures.push(format!("{case}: {error}"));
        }
    }
}
