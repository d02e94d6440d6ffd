//! A waiting task that is repeated brings another token. Its first call may still be under way, and comes last: the token that
//! somebody waits for stays.

use chrono::{DateTime, TimeDelta, Utc};
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::token::TokenOrder;

/// The call that brings this token: the state was entered after so many seconds, and its task repeated so often.
fn call(run: &Run, token: &str, entered_after: i64, retry_count: i32) -> Run {
    let entered_at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(entered_after);
    Run { token: token.into(), token_order: Some(TokenOrder { entered_at, retry_count }), ..run.clone() }
}

async fn read_token(world: &World, run: &Run) -> Value {
    world.read_job(run.job).await["task_token"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_call_of_the_wait_for_approval_does_not_replace_the_token_of_a_later_one() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    let (ghost, later) = (call(&run, "old", 10, 0), call(&run, "new", 10, 1));
    later.await_approval().await.unwrap();
    let promised = world.read_outbox(run.job).await;
    // Nobody awaits the answer of the ghost, nor that of the later call when it runs twice.
    ghost.await_approval().await.unwrap();
    later.await_approval().await.unwrap();
    Run { token: "oldest".into(), token_order: None, ..run.clone() }.await_approval().await.unwrap();
    assert_eq!(read_token(&world, &run).await, json!("new"));
    assert_eq!(world.read_outbox(run.job).await, promised);

    run.approve(&world.actor).await;
    let promised = world.read_outbox(run.job).await;
    assert_eq!(promised.last().map(String::as_str), Some("task_success"));
    ghost.await_approval().await.unwrap();
    assert_eq!(
        (read_token(&world, &run).await, &world.read_outbox(run.job).await),
        (json!("new"), &promised)
    );
    // The approval goes to the token of a call that is later still.
    call(&run, "newest", 10, 2).await_approval().await.unwrap();
    assert_eq!(read_token(&world, &run).await, json!("newest"));
    assert_eq!(world.read_outbox(run.job).await.len(), promised.len() + 1);
    run.at = State::InsertCodes;
    run.until(State::Done).await.expect(State::Done);
}

/// The codes are marked again, and the wait is entered again: its first call is later than any of the wait before.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_entered_again_brings_a_later_token() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    call(&run, "first", 10, 5).await_approval().await.unwrap();
    call(&run, "again", 11, 0).await_approval().await.unwrap();
    call(&run, "ghost", 10, 6).await_approval().await.unwrap();
    assert_eq!(read_token(&world, &run).await, json!("again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_call_of_the_wait_in_line_does_not_replace_the_token_of_a_later_one() {
    let world = World::new().await;
    let mut first = world.import_file("a.csv", "code\nA\n");
    first.until(State::LoadFiles).await.expect(State::LoadFiles);
    let mut run = world.import_file("b.csv", "code\nB\n");
    run.at = run.open().await.unwrap();
    assert_eq!(run.at, State::WaitForMerchant);
    let (ghost, later) = (call(&run, "old", 10, 0), call(&run, "new", 10, 1));
    later.sleep().await.unwrap();
    ghost.sleep().await.unwrap();
    assert_eq!(read_token(&world, &run).await, json!("new"));
    // It was woken, and its token is used up. A ghost doesn't bring it back.
    let woken = format!("UPDATE onceload.codes_import_jobs SET task_token = NULL WHERE id = '{}'", run.job);
    world.db.exec(&woken).await;
    later.sleep().await.unwrap();
    ghost.sleep().await.unwrap();
    assert_eq!(read_token(&world, &run).await, Value::Null);
    // It opens again, finds that somebody was quicker, and sleeps again.
    call(&run, "again", 20, 0).sleep().await.unwrap();
    assert_eq!(read_token(&world, &run).await, json!("again"));
    first.until(State::InsertCodes).await.expect(State::InsertCodes);
    let mut awake = Run { at: State::Open, ..call(&run, "approval", 30, 0) };
    awake.finish(&world.actor).await.expect(State::Done);
}

/// The definition of an execution stays as it was when the execution began: it may tell no order.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_order_still_brings_its_token() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    for token in ["first", "second"] {
        Run { token: token.into(), ..run.clone() }.await_approval().await.unwrap();
        assert_eq!(read_token(&world, &run).await, json!(token));
    }
    run.at = State::InsertCodes;
    run.finish(&world.actor).await.expect(State::Done);
}

/// Another attempt is another execution, whose tokens have an order of their own.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_attempt_begins_without_a_token_and_its_order() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\n");
    run.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    call(&run, "late", 10, 3).await_approval().await.unwrap();
    run.close_caught("Internal", "broken").await.unwrap();
    run.retry(&world.actor).await;
    let mut again = Run::of_job(&world.app, run.job, 2);
    again.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    call(&again, "early", 5, 0).await_approval().await.unwrap();
    assert_eq!(read_token(&world, &again).await, json!("early"));
    let refused = call(&run, "ghost", 10, 4).await_approval().await;
    assert!(refused.is_err(), "another attempt");
    assert_eq!(read_token(&world, &again).await, json!("early"));
}
