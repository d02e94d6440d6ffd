//! The end: nothing fails any more. Everything comes to rest, every sum is right, and what waited for a person can go on.

use super::world::World;
use crate::Outcome;
use crate::operator::{self, Deed};
use crate::processes;
use crate::rest;
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use xtask::stack;

const PATIENCE: Duration = Duration::from_secs(180);
/// A retry repairs what a fault broke, and not a file that is broken itself.
const RETRIES: u32 = 2;

pub(super) async fn come_to_rest(world: &World) -> Outcome<()> {
    world.gate.clear()?;
    processes::functions(&world.local).iter().for_each(|function| function.process.signal(Signal::SIGCONT));
    let (postgres, _) = stack::servers(&world.local.directory)?;
    processes::signal_server(&postgres.directory, Signal::SIGCONT);
    rest(world, "after the faults").await;
    explain_failures(world).await?;
    finish(world).await?;
    rest(world, "after the last import").await;
    verify_again(world).await?;
    for wrong in rest::find_wrong(&world.local, "true").await? {
        world.journal.find(wrong);
    }
    check_clicks(world).await?;
    check_claims(world).await?;
    check_communities(world).await
}

/// Waits until everything is at rest. The sweep runs as its schedule does, only sooner.
async fn rest(world: &World, when: &str) {
    let began = Instant::now();
    let unrest = loop {
        if let Err(error) = world.local.sweep().await {
            world.journal.write("sweep", "failed", json!({ "text": error.to_string() }));
        }
        match rest::find_unrest(&world.local, "true").await {
            Ok(unrest) if unrest.is_empty() => break unrest,
            Ok(unrest) if began.elapsed() > PATIENCE => break unrest,
            Err(error) if began.elapsed() > PATIENCE => break vec![error.to_string()],
            _ => tokio::time::sleep(Duration::from_secs(3)).await,
        }
    };
    println!("{:>6} s  at rest {when}: {} s", world.journal.milliseconds() / 1000, began.elapsed().as_secs());
    for what in unrest {
        world.journal.find(format!("no rest {when}: {what}"));
    }
}

/// Of two clicks the second may start an import of its own if it came when the first was over, as when all of its codes were duplicates.
/// A retry begins later, so it says nothing about that moment.
async fn check_clicks(world: &World) -> Outcome<()> {
    let pairs = world.clicked_twice.lock().expect("lock").clone();
    for pair in pairs {
        let sql = format!(
            "SELECT a.id FROM onceload.codes_import_jobs a JOIN onceload.codes_import_jobs b ON b.id = '{}'
              WHERE a.id = '{}' AND a.attempt = 1 AND b.created_at < coalesce(a.finished_at, 'infinity')",
            pair[1], pair[0]
        );
        if !world.local.rows(&sql).await?.is_empty() {
            world.journal.find(format!("two clicks started two imports: {pair:?}"));
        }
    }
    Ok(())
}

/// An import fails because of its files, or because somebody stopped its execution. Nothing else is a reason.
async fn explain_failures(world: &World) -> Outcome<()> {
    let sql = "SELECT id, attempt, error_message FROM onceload.codes_import_jobs WHERE status = 'failed'";
    for row in world.local.rows(sql).await? {
        let reasons =
            ["ABORTED", "files rejected", "nothing_staged", "other imports", "its execution is gone"];
        world.journal.write(
            "check",
            "failed import",
            json!({ "job": row[0], "attempt": row[1], "text": row[2] }),
        );
        if !reasons.iter().any(|reason| row[2].contains(reason)) {
            world.journal.find(format!("an import failed for no reason of its own: {}", row.join(" | ")));
        }
    }
    Ok(())
}

/// Everybody who waits is attended to: approvals, and retries of what can succeed.
async fn finish(world: &World) -> Outcome<()> {
    let (began, token) = (Instant::now(), world.token(0));
    let mut retried: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let open = "SELECT id, status FROM onceload.codes_import_jobs
                     WHERE finished_at IS NULL OR status = 'failed' ORDER BY created_at";
        let mut left = Vec::new();
        for row in world.local.rows(open).await? {
            if row[1] == "failed" && retried.get(&row[0]).is_some_and(|count| *count >= RETRIES) {
                continue;
            }
            left.push(row.join(" "));
            let (deed, _) = operator::tend(&world.local, token, &row[0]).await?;
            if row[1] == "failed" {
                // Also a refusal counts: another import may have taken its files.
                *retried.entry(row[0].clone()).or_default() += u32::from(deed != Deed::Nothing);
            }
        }
        if left.is_empty() {
            println!(
                "{:>6} s  all imports are over: {} s",
                world.journal.milliseconds() / 1000,
                began.elapsed().as_secs()
            );
            return Ok(());
        }
        if began.elapsed() > 2 * PATIENCE {
            world.journal.find(format!("imports are not over though everybody attends to them: {left:?}"));
            return Ok(());
        }
        world.local.sweep().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A completed import whose verification was given up is verified by hand.
async fn verify_again(world: &World) -> Outcome<()> {
    let sql = "SELECT id FROM onceload.codes_import_jobs
                WHERE status = 'completed' AND codes_inserted > 0 AND verification IS NULL";
    let missing: Vec<String> = world.local.rows(sql).await?.into_iter().flatten().collect();
    for job in &missing {
        let answer =
            world.local.api.post(world.token(0), &format!("/imports/{job}/verify"), json!({})).await?;
        world.journal.write("check", "verified by hand", json!({ "job": job, "status": answer.status }));
    }
    if !missing.is_empty() {
        println!("{} imports had no verification", missing.len());
        rest(world, "after the verifications").await;
    }
    Ok(())
}

/// A code that a customer has redeemed stays, whatever is rolled back.
async fn check_claims(world: &World) -> Outcome<()> {
    let claimed = world.claimed.lock().map(|claimed| claimed.clone()).unwrap_or_default();
    let mut there: BTreeMap<(String, String), String> = BTreeMap::new();
    let sql = "SELECT merchant_id, code, claimed_customer_id FROM onceload.codes WHERE claimed";
    for row in world.local.rows(sql).await? {
        there.insert((row[0].clone(), row[1].clone()), row[2].clone());
    }
    for (merchant, code, customer) in &claimed {
        if there.get(&(merchant.to_string(), code.clone())) != Some(customer) {
            world.journal.find(format!("a claimed code has vanished: {merchant} {code} {customer}"));
        }
    }
    println!("{} claims kept", claimed.len());
    Ok(())
}

/// A keyed request makes one community, however often it was sent.
async fn check_communities(world: &World) -> Outcome<()> {
    for (user, key, tag) in world.answers.created() {
        let sql = format!("SELECT count(*) FROM onceload.communities WHERE description = '{tag}'");
        let count = world.local.number(&sql).await?;
        if count != 1 {
            world.journal.find(format!("the key {key} of user {user} made {count} communities"));
        }
    }
    Ok(())
}
