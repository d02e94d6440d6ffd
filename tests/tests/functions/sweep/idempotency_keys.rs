//! The nightly clean-up of expired idempotency keys.

use expire_idempotency_keys::{BATCH, Output};
use onceload_tests::World;
use onceload_tests::execution::budget;
use serde_json::json;
use shared::lambda::Budget;
use std::time::Duration;

async fn clean_up(world: &World, budget: Budget) -> Output {
    expire_idempotency_keys::handle(world.app.clone(), json!({}), budget).await.unwrap()
}

fn output(deleted: u64, batches: u64, complete: bool) -> Output {
    Output { deleted, batches, complete, ..Output::default() }
}

/// Adds keys of the member that expired an hour ago or will expire in an hour.
async fn add_keys(world: &World, prefix: &str, number: u32, expired: bool) {
    let sign = if expired { '-' } else { '+' };
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.idempotency_keys (user_id, key, expires_at, fingerprint, response_status)
             SELECT '{}', '{prefix}' || n, now() {sign} interval '1 hour', decode(repeat('00', 32), 'hex'), 201
               FROM generate_series(1, {number}) n",
            world.actor.user
        ))
        .await;
}

async fn count_keys(world: &World) -> i64 {
    world.db.int("SELECT count(*) FROM onceload.idempotency_keys").await
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_keys_are_deleted_in_batches() {
    let world = World::new().await;
    assert_eq!(clean_up(&world, budget()).await, output(0, 1, true));
    add_keys(&world, "old", 2 * BATCH + 1, true).await;
    add_keys(&world, "young", 10, false).await;
    let expected = output(u64::from(2 * BATCH + 1), 3, true);
    assert_eq!(clean_up(&world, budget()).await, expected);
    assert_eq!(count_keys(&world).await, 10);
    assert_eq!(clean_up(&world, budget()).await.deleted, 0, "twice");
    assert_eq!(count_keys(&world).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_up_stops_before_its_time_budget_ends() {
    let world = World::new().await;
    add_keys(&world, "old", 2 * BATCH, true).await;
    let hurried = clean_up(&world, Budget::of(Duration::from_secs(2))).await;
    assert_eq!(hurried, output(u64::from(BATCH), 1, false));
    assert_eq!(count_keys(&world).await, i64::from(BATCH));
    assert_eq!(clean_up(&world, budget()).await.deleted, u64::from(BATCH), "the next run continues");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_clean_ups_delete_each_key_once() {
    let world = World::new().await;
    add_keys(&world, "old", 3 * BATCH, true).await;
    let (a, b) = tokio::join!(clean_up(&world, budget()), clean_up(&world, budget()));
    assert_eq!(a.deleted + b.deleted, u64::from(3 * BATCH), "{a:?} {b:?}");
    assert_eq!(count_keys(&world).await, 0);
}

/// A request that reuses an expired key holds its row. The clean-up neither waits for the row nor deletes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_key_is_skipped() {
    let world = World::new().await;
    add_keys(&world, "old", 3, true).await;
    let request = world.db.connect().await;
    request
        .batch_execute(
            "BEGIN; UPDATE onceload.idempotency_keys SET expires_at = now() + interval '24 hours' WHERE key = 'old2'",
        )
        .await
        .unwrap();
    // Waiting for the row would fail with a lock timeout.
    assert_eq!(clean_up(&world, budget()).await.deleted, 2);
    request.batch_execute("COMMIT").await.unwrap();
    assert_eq!(clean_up(&world, budget()).await.deleted, 0);
    assert_eq!(world.db.column("SELECT key FROM onceload.idempotency_keys").await, ["old2"]);
}
