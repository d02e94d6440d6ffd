//! Users at work while everything fails: what they do and what fails is drawn from a seed. At the end nothing fails any more, and
//! everything must come to rest.

mod answers;
mod deeds;
mod end;
mod faults;
mod files;
mod journal;
mod plan;
mod random;
mod watch;
mod world;

use crate::Outcome;
use plan::Lane;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use world::World;

/// Runs a plan. Returns whether nothing was found wrong.
pub(crate) async fn run(directory: &Path, seed: u64, minutes: u64, long: bool) -> Outcome<bool> {
    let pooled = xtask::stack::servers(&directory.join("stack"))?.1.is_some();
    let lanes = plan::draw(seed, minutes, long, pooled);
    write_plan(directory, &lanes)?;
    let world = Arc::new(World::create(directory).await?);
    let steps: usize = lanes.iter().map(|lane| lane.steps.len()).sum();
    println!("seed {seed}: {steps} steps of {} actors in {minutes} min", lanes.len());
    let watcher = Arc::clone(&world);
    let watcher = tokio::spawn(async move { watch::watch(&watcher).await });
    let mut actors = JoinSet::new();
    for lane in lanes {
        let world = Arc::clone(&world);
        actors.spawn(async move { act(&world, lane).await });
    }
    while let Some(done) = actors.join_next().await {
        done?;
    }
    end::come_to_rest(&world).await?;
    watcher.abort();
    summarise(&world).await?;
    let found = world.journal.found();
    found.iter().for_each(|what| println!("FOUND {what}"));
    if !found.is_empty() {
        let (long, pooled) = (if long { " --long" } else { "" }, if pooled { " --pooled" } else { "" });
        println!("again: cargo xtask soak --seed {seed} --minutes {minutes}{long}{pooled}");
    }
    Ok(found.is_empty())
}

/// Does one actor's steps, one after the other. One that comes late hurries.
async fn act(world: &World, lane: Lane) {
    for step in lane.steps {
        let now = world.journal.milliseconds();
        tokio::time::sleep(Duration::from_millis(step.at.saturating_sub(now))).await;
        if let Err(error) = deeds::carry_out(world, &lane.name, &step.deed).await {
            world.journal.write(
                &lane.name,
                "failed",
                json!({ "deed": step.deed, "text": error.to_string() }),
            );
        }
    }
}

fn write_plan(directory: &Path, lanes: &[Lane]) -> Outcome<()> {
    let mut text = String::new();
    for lane in lanes {
        for step in &lane.steps {
            writeln!(text, "{}", json!({ "who": lane.name, "step": step }))?;
        }
    }
    Ok(std::fs::write(directory.join("plan.jsonl"), text)?)
}

async fn summarise(world: &World) -> Outcome<()> {
    println!("answers: {}", world.answers.summary());
    let sql = "SELECT status, count(*), max(attempt), coalesce(sum(codes_inserted), 0) FROM onceload.codes_import_jobs GROUP BY 1 ORDER BY 1";
    for row in world.local.rows(sql).await? {
        println!("imports {}: {}, at most {} attempts, {} codes", row[0], row[1], row[2], row[3]);
    }
    Ok(())
}
