//! The nightly clean-up of idempotency keys.

use expire_idempotency_keys::{BATCH, Output};
use onceload_tests::Bench;
use onceload_tests::drive::budget;
use serde_json::json;
use shared::edge::Budget;
use std::time::Duration;

async fn run(bench: &Bench, budget: Budget) -> Output {
    expire_idempotency_keys::handle(bench.app.clone(), json!({}), budget).await.unwrap()
}

/// Keys of the bench's user whose time was over an hour ago, or is in an hour.
async fn add_keys(bench: &Bench, prefix: &str, number: u32, expired: bool) {
    let sign = if expired { '-' } else { '+' };
    bench
        .db
        .exec(&format!(
            "INSERT INTO idempotency_keys (user_id, key, expires_at, fingerprint, response_status)
             SELECT '{}', '{prefix}' || n, now() {sign} interval '1 hour', decode(repeat('00', 32), 'hex'), 201
               FROM generate_series(1, {number}) n",
            bench.actor.user
        ))
        .await;
}

async fn left(bench: &Bench) -> i64 {
    bench.db.int("SELECT count(*) FROM idempotency_keys").await
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_keys_go_in_batches_and_others_stay() {
    let bench = Bench::new().await;
    assert_eq!(run(&bench, budget()).await, Output { deleted: 0, batches: 1, complete: true });
    add_keys(&bench, "old", 2 * BATCH + 1, true).await;
    add_keys(&bench, "young", 10, false).await;
    let expected = Output { deleted: u64::from(2 * BATCH + 1), batches: 3, complete: true };
    assert_eq!(run(&bench, budget()).await, expected);
    assert_eq!(left(&bench).await, 10);
    assert_eq!(run(&bench, budget()).await.deleted, 0, "twice");
    assert_eq!(left(&bench).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_before_its_time_is_over() {
    let bench = Bench::new().await;
    add_keys(&bench, "old", 2 * BATCH, true).await;
    let hurried = run(&bench, Budget::of(Duration::from_secs(2))).await;
    assert_eq!(hurried, Output { deleted: u64::from(BATCH), batches: 1, complete: false });
    assert_eq!(left(&bench).await, i64::from(BATCH));
    assert_eq!(run(&bench, budget()).await.deleted, u64::from(BATCH), "the next run goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_delete_each_key_once() {
    let bench = Bench::new().await;
    add_keys(&bench, "old", 3 * BATCH, true).await;
    let (a, b) = tokio::join!(run(&bench, budget()), run(&bench, budget()));
    assert_eq!(a.deleted + b.deleted, u64::from(3 * BATCH), "{a:?} {b:?}");
    assert_eq!(left(&bench).await, 0);
}

/// A request that takes an expired key over holds its row. The clean-up neither waits for it nor deletes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_in_use_is_left_alone() {
    let bench = Bench::new().await;
    add_keys(&bench, "old", 3, true).await;
    let request = bench.db.connect().await;
    request
        .batch_execute(
            "BEGIN; UPDATE idempotency_keys SET expires_at = now() + interval '24 hours' WHERE key = 'old2'",
        )
        .await
        .unwrap();
    // Waiting for the row would end in a lock time-out, that is, in an error.
    assert_eq!(run(&bench, budget()).await.deleted, 2);
    request.batch_execute("COMMIT").await.unwrap();
    assert_eq!(run(&bench, budget()).await.deleted, 0);
    assert_eq!(bench.db.column("SELECT key FROM idempotency_keys").await, ["old2"]);
}
