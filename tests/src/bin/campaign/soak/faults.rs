//! Carries the faults of a plan out, and undoes what doesn't undo itself.

use super::plan::{Fault, state_of};
use super::world::World;
use crate::Outcome;
use crate::gate::Rule;
use crate::processes::{self, Function};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;
use xtask::postgres::Settings;
use xtask::stack;

pub(super) async fn strike(world: &World, fault: &Fault) -> Outcome<()> {
    if matches!(fault, Fault::StopExecution { .. } | Fault::Step { .. } | Fault::RepeatEvent { .. }) {
        return carry_out(world, fault).await;
    }
    let outage = world.journal.begin_outage();
    let outcome = carry_out(world, fault).await;
    world.journal.end_outage(outage);
    outcome
}

async fn carry_out(world: &World, fault: &Fault) -> Outcome<()> {
    let local = &world.local;
    match *fault {
        Fault::Kill { count, pick } => {
            for function in some(processes::functions(local), count, pick) {
                world.journal.write("fault", "killed", json!({ "function": function.name }));
                function.process.signal(Signal::SIGKILL);
            }
        }
        Fault::Freeze { count, pick, seconds } => {
            let frozen = some(processes::functions(local), count, pick);
            frozen.iter().for_each(|function| function.process.signal(Signal::SIGSTOP));
            sleep(Duration::from_secs(seconds)).await;
            frozen.iter().for_each(|function| function.process.signal(Signal::SIGCONT));
        }
        Fault::StopExecution { pick } => {
            let running = local.running().await?;
            if let Some(execution) = choose(&running, pick) {
                let stopped = local.stop_execution(&execution.arn).await;
                world.journal.write(
                    "fault",
                    "stopped",
                    json!({ "execution": execution.arn, "stopped": stopped }),
                );
            }
        }
        Fault::Crash { seconds } => crash(world, seconds).await?,
        Fault::Stall { seconds } => {
            let _alone = world.server.lock().await;
            let (postgres, _) = stack::servers(&local.directory)?;
            processes::signal_server(&postgres.directory, Signal::SIGSTOP);
            sleep(Duration::from_secs(seconds)).await;
            processes::signal_server(&postgres.directory, Signal::SIGCONT);
        }
        Fault::Cut { every } => {
            let cut = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE application_name LIKE 'onceload%' AND pid % {every} = 0"
            );
            local.rows(&cut).await?;
        }
        Fault::Pooler { server } => {
            if server {
                crash(world, 1).await?;
            }
            let _alone = world.server.lock().await;
            let directory = local.directory.clone();
            tokio::task::spawn_blocking(move || stack::restart_pooler(&directory)).await??;
        }
        Fault::Step { state, act } => {
            let (machine, name) = state_of(state);
            world.gate.set(Rule {
                id: format!("soak-{}", world.journal.milliseconds()),
                machine: machine.to_owned(),
                state: name.to_owned(),
                texts: Vec::new(),
                acts: vec![act],
            })?;
        }
        Fault::RepeatEvent { pick } => {
            let running = local.running().await?;
            let events: Vec<_> = running.iter().filter(|it| it.input.contains("\"detail\"")).collect();
            if let Some(execution) = choose(&events, pick) {
                local.repeat_event(&execution.input).await?;
            }
        }
    }
    Ok(())
}

async fn crash(world: &World, seconds: u64) -> Outcome<()> {
    let _alone = world.server.lock().await;
    let directory = world.local.directory.clone();
    let restart = move || stack::crash_database(&directory, &Settings::test(), Duration::from_secs(seconds));
    tokio::task::spawn_blocking(restart).await??;
    Ok(())
}

fn some(mut functions: Vec<Function>, count: u64, pick: u64) -> Vec<Function> {
    functions.sort_by(|a, b| (&a.name, a.process.pid).cmp(&(&b.name, b.process.pid)));
    let mut chosen = Vec::new();
    for n in 0..count {
        if !functions.is_empty() {
            chosen.push(
                functions.swap_remove((pick.rotate_left(n as u32 * 8) % functions.len() as u64) as usize),
            );
        }
    }
    chosen
}

pub(super) fn choose<T>(candidates: &[T], pick: u64) -> Option<&T> {
    candidates.get((pick % candidates.len().max(1) as u64) as usize)
}
