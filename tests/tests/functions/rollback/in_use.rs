//! Rollbacks beside an application that claims codes: neither waits long for the other, and no claim is lost.

use onceload_tests::files::numbered;
use onceload_tests::reports::read_gzip;
use onceload_tests::{Maintenance, World};
use serde_json::json;
use shared::domain::task::ClaimedCodes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

const KEEP: Maintenance = Maintenance::Rollback(ClaimedCodes::Keep);
const DELETE: Maintenance = Maintenance::Rollback(ClaimedCodes::Delete);
/// Who claim, each among codes of their own: they are in the way of the rollback, not of each other.
const CLAIMERS: u64 = 4;

/// Claims codes one after the other in one transaction. Returns those that were there and free.
async fn claim(client: &mut Client, codes: &[String]) -> Result<Vec<String>, Error> {
    let tx = client.transaction().await?;
    let mut claimed = Vec::new();
    for code in codes {
        let sql = format!(
            "UPDATE onceload.codes SET claimed = true WHERE code = '{code}' AND NOT claimed RETURNING code"
        );
        let found = tx.simple_query(&sql).await?.iter().any(|it| matches!(it, SimpleQueryMessage::Row(_)));
        claimed.extend(found.then(|| code.clone()));
    }
    tx.commit().await?;
    Ok(claimed)
}

/// Numbers that look random and are the same in every run.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

/// Claims 25 times a second until told to stop, every other time up to four codes at once, in any order.
async fn claim_until(mut client: Client, stop: Arc<AtomicBool>, claimer: u64, all: u64) -> Vec<String> {
    let mut pace = tokio::time::interval(Duration::from_millis(40));
    let mut seed = claimer;
    let mut claimed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let number = if draw(&mut seed, 2) == 0 { 1 } else { 2 + draw(&mut seed, 3) };
        let codes: Vec<String> = (0..number)
            .map(|_| format!("A{:06}", draw(&mut seed, all / CLAIMERS) * CLAIMERS + claimer))
            .collect();
        claimed.extend(claim(&mut client, &codes).await.expect("a claim is never the victim of a rollback"));
    }
    claimed
}

async fn roll_back_beside_claims(world: &World, codes: u32) {
    let run = world.import_to_end("a.csv", numbered("A", 0..codes)).await;
    let codes = u64::from(codes);
    // One claim stays open, so the rollback looks again for longer than the second after which a wait is searched for deadlocks.
    let open = world.db.connect().await;
    open.batch_execute("BEGIN; SELECT FROM onceload.codes WHERE code = 'A000000' FOR UPDATE").await.unwrap();
    let task = world.start_task(run.job, KEEP).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut claiming = Vec::new();
    for claimer in 0..CLAIMERS {
        claiming.push(tokio::spawn(claim_until(world.db.connect().await, stop.clone(), claimer, codes)));
    }
    world.db.until("claims", "SELECT count(*) > 20 FROM onceload.codes WHERE claimed").await;
    let result = task.run().await.unwrap();
    open.batch_execute("ROLLBACK").await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut claimed = Vec::new();
    for claims in claiming {
        claimed.extend(claims.await.unwrap());
    }
    claimed.sort();
    let left = world.db.column("SELECT code FROM onceload.codes WHERE claimed ORDER BY code").await;
    assert_eq!(left, claimed, "every claim that was told to succeed");
    let (deleted, kept) = (result["codes_deleted"].as_u64().unwrap(), result["codes_kept"].as_u64().unwrap());
    assert_eq!(deleted + kept, codes);
    assert_eq!(world.count_codes().await.cast_unsigned(), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_is_lost_or_fails_beside_a_rollback() {
    roll_back_beside_claims(&World::new().await, 60_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_is_lost_or_fails_beside_a_rollback_of_referenced_codes() {
    let world = World::with_baseline().await;
    world
        .db
        .exec(
            "CREATE TABLE onceload.orders (merchant_id uuid, code text COLLATE \"C\",
                 FOREIGN KEY (merchant_id, code) REFERENCES onceload.codes ON DELETE CASCADE);
             CREATE INDEX ON onceload.orders (merchant_id, code);
             CREATE FUNCTION onceload.order() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO onceload.orders VALUES (NEW.merchant_id, NEW.code); RETURN NULL; END $$;
             CREATE TRIGGER \"order\" AFTER UPDATE ON onceload.codes FOR EACH ROW EXECUTE FUNCTION onceload.order()",
        )
        .await;
    roll_back_beside_claims(&world, 30_000).await;
    let lost = "SELECT count(*) FROM onceload.codes c FULL JOIN onceload.orders o USING (merchant_id, code)
                 WHERE c.claimed AND o.code IS NULL OR c.code IS NULL";
    assert_eq!(world.db.int(lost).await, 0);
}

/// The rollback ends while the claim is still open. It keeps the code, whatever becomes of the claim.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_waits_for_no_claim_and_keeps_what_is_in_use() {
    for (how, kept, referenced) in [(KEEP, 3, false), (DELETE, 2, false), (DELETE, 2, true)] {
        let world = World::with_baseline().await;
        if referenced {
            world
                .db
                .exec(
                    "CREATE TABLE onceload.orders (merchant_id uuid, code text COLLATE \"C\",
                         FOREIGN KEY (merchant_id, code) REFERENCES onceload.codes)",
                )
                .await;
        }
        let run = world.import_to_end("a.csv", numbered("A", 0..500)).await;
        world.db.exec("UPDATE onceload.codes SET claimed = true WHERE code = 'A000009'").await;
        let application = world.db.connect().await;
        application
            .batch_execute(
                "BEGIN; UPDATE onceload.codes SET claimed = true WHERE code IN ('A000003', 'A000005')",
            )
            .await
            .unwrap();
        let result = world.run_task(run.job, how).await;
        assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(500 - kept), &json!(kept)));
        let key = format!("reports/{}/{}/claimed.csv.gz", world.merchant, run.job);
        let text = String::from_utf8(read_gzip(&world, &key)).unwrap();
        assert_eq!(text.lines().filter(|line| line.ends_with(",in_use")).count(), 2, "{text}");
        application.batch_execute("COMMIT").await.unwrap();
        assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes WHERE claimed").await, kept);
    }
}

/// What is let go while the rollback works is deleted, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_let_go_in_time_is_deleted() {
    let world = World::with_baseline().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..500)).await;
    let application = world.db.connect().await;
    application
        .batch_execute("BEGIN; SELECT FROM onceload.codes WHERE code = 'A000003' FOR UPDATE")
        .await
        .unwrap();
    // The rollback stops at its first code, when it has passed over the one in use.
    let held = world.hold_deletions("OLD.code = 'A000400'").await;
    let task = world.start_task(run.job, KEEP).await;
    let running = {
        let task = task.with_own_connections(&world);
        tokio::spawn(async move { task.run().await })
    };
    world.db.wait_for_blocked("codes.delete_locked").await;
    application.batch_execute("ROLLBACK").await.unwrap();
    held.release().await;
    let result = running.await.unwrap().unwrap();
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(500), &json!(0)));
}

/// A claim waits for a code that the rollback has deleted, and holds one that comes later: neither is ended for a deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_a_deleted_code_waits_for_the_rollback_and_finds_nothing() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..500)).await;
    let mut blocker = world.db.connect().await;
    let held = blocker.transaction().await.unwrap();
    held.batch_execute("SELECT FROM onceload.merchants FOR UPDATE").await.unwrap();
    let mut application = world.db.connect().await;
    let holding = application.transaction().await.unwrap();
    holding.batch_execute("UPDATE onceload.codes SET claimed = true WHERE code = 'A000400'").await.unwrap();
    let task = world.start_task(run.job, KEEP).await;
    let running = {
        let task = task.with_own_connections(&world);
        tokio::spawn(async move { task.run().await })
    };
    world.db.wait_for_blocked("merchants.raise_epoch").await;
    let sql = "-- application\nUPDATE onceload.codes SET claimed = true WHERE code = 'A000003'";
    let (claimed, ()) = tokio::join!(holding.batch_execute(sql), async {
        world
            .db
            .until(
                "the claim to wait",
                "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                    AND query LIKE '-- application%'",
            )
            .await;
        held.rollback().await.unwrap();
    });
    claimed.unwrap();
    holding.commit().await.unwrap();
    let result = running.await.unwrap().unwrap();
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(499), &json!(1)));
    assert_eq!(world.db.column("SELECT code FROM onceload.codes WHERE claimed").await, ["A000400"]);
}
