//! Who is woken in line for a merchant's lease, by whom, and that no wake-up is lost.

use super::waiting::{count_wakes, imports, line_up};
use futures_util::future::join_all;
use import_jobs::decide::Decision;
use onceload_tests::{Maintenance, State, World};
use shared::domain::step::StepError;
use shared::domain::task::ClaimedCodes;

/// Whatever returns the lease wakes the next in line, in the same transaction and once.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_return_the_lease_wakes_the_next_in_line() {
    for way in ["parks", "has nothing to insert", "fails", "is cancelled", "is rolled back", "is given up"] {
        let world = World::new().await;
        world.add_codes(&["OLD"]).await;
        let [mut next, mut third] = imports(&world);
        let mut holder = world.import_file("holder.csv", "code\nH\n");
        let mut nothing = world.import_file("nothing.csv", "code\nOLD\n");
        let keep = Maintenance::Rollback(ClaimedCodes::Keep);
        let mut rollback = None;
        match way {
            "has nothing to insert" => nothing.until(State::CloseEmpty).await.expect(State::CloseEmpty),
            "is rolled back" | "is given up" => {
                holder.finish(&world.actor).await.expect(State::Done);
                rollback = Some(world.start_task(holder.job, keep).await);
            }
            _ => holder.until(State::WaitForApproval).await.expect(State::WaitForApproval),
        }
        for run in [&mut next, &mut third] {
            run.until(State::LoadFiles).await.expect(State::WaitForMerchant);
        }
        assert_eq!(count_wakes(&world, &next).await, 0, "{way}: too early");
        match (way, rollback) {
            ("parks", _) => drop(holder.await_approval().await.unwrap()),
            ("has nothing to insert", _) => nothing.until(State::Done).await.expect(State::Done),
            ("fails", _) => drop(holder.close_caught("Internal", "broken").await.unwrap()),
            ("is cancelled", _) => {
                assert!(matches!(holder.cancel(&world.actor).await, Decision::Taken { .. }));
                assert_eq!(count_wakes(&world, &next).await, 0, "it still works");
                holder.close_caught("Cancelled", "").await.unwrap();
            }
            ("is rolled back", Some(task)) => drop(task.run().await.unwrap()),
            ("is given up", Some(task)) => drop(task.abandon(&StepError::internal("broken")).await),
            (other, _) => panic!("{other}"),
        }
        let woken = (count_wakes(&world, &next).await, count_wakes(&world, &third).await);
        assert_eq!(woken, (1, 0), "{way}");
        next.at = State::Open;
        next.until(State::LoadFiles).await.expect(State::LoadFiles);
    }
}

/// The first in line was woken, and goes away before it takes the lease.
#[tokio::test(flavor = "multi_thread")]
async fn cancelling_the_first_in_line_wakes_the_second() {
    let world = World::new().await;
    let mut runs = imports::<3>(&world);
    line_up(&mut runs).await;
    runs[0].until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(count_wakes(&world, &runs[1]).await, 1);
    assert!(matches!(runs[1].cancel(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(world.read_status(runs[1].job).await, "cancelled");
    assert_eq!(count_wakes(&world, &runs[2]).await, 1);
}

/// The lease is returned after the execution was told to wait, and before it sleeps: there is no token yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_returned_before_the_token_is_stored_wakes_the_sleeper_at_once() {
    let world = World::new().await;
    let [mut holder, mut waiter, mut later] = imports(&world);
    holder.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    waiter.at = waiter.open().await.unwrap();
    assert_eq!(waiter.at, State::WaitForMerchant);
    holder.await_approval().await.unwrap();
    assert_eq!(count_wakes(&world, &waiter).await, 0, "nobody to wake");
    later.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    waiter.sleep().await.unwrap();
    assert_eq!(count_wakes(&world, &waiter).await, 1);
    waiter.at = State::Open;
    waiter.until(State::LoadFiles).await.expect(State::LoadFiles);
}

/// Deciding to wait and returning the lease exclude each other, in both orders.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_returned_while_somebody_decides_to_wait_wakes_them() {
    let world = World::new().await;
    let [mut holder, mut waiter] = imports(&world);
    holder.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    // The lease is returned and not committed yet: the decision waits, and finds it free.
    let returning = world.db.connect().await;
    let park = format!(
        "BEGIN; UPDATE onceload.codes_import_jobs SET status = 'failed', phase = 'failed', error_message = 'x',
                leased = false, finished_at = now() WHERE id = '{}'",
        holder.job
    );
    returning.batch_execute(&park).await.unwrap();
    let mut opening = waiter.with_own_connections(&world);
    let (opened, ()) = tokio::join!(opening.open(), async {
        world.db.wait_for_blocked("merchants.lock_line").await;
        returning.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(opened.unwrap(), State::LoadFiles);

    // Somebody has decided to wait and not committed yet: the return waits, and wakes them.
    waiter.at = waiter.open().await.unwrap();
    waiter.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    let mut last = world.import_file("last.csv", "code\nL\n");
    last.at = last.open().await.unwrap();
    let deciding = world.db.connect().await;
    let sleep = format!(
        "BEGIN; SELECT onceload.lock_line('{}');
         UPDATE onceload.codes_import_jobs SET task_token = 't' WHERE id = '{}'",
        world.merchant, last.job
    );
    deciding.batch_execute(&sleep).await.unwrap();
    let parking = tokio::spawn({
        let waiter = waiter.with_own_connections(&world);
        async move { waiter.await_approval().await }
    });
    world.db.wait_for_blocked("merchants.lock_line_of_job").await;
    deciding.batch_execute("COMMIT").await.unwrap();
    parking.await.unwrap().unwrap();
    assert_eq!(count_wakes(&world, &last).await, 1);
}

/// Many returns, arrivals and wake-ups at once: each time exactly one import goes on, and nobody sleeps beside a free lease.
#[tokio::test(flavor = "multi_thread")]
async fn no_wake_up_is_lost_between_concurrent_returns_and_arrivals() {
    let world = World::new().await;
    let mut holder = world.import_file("first.csv", "code\nFIRST\n");
    holder.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    for round in 0..12 {
        let arriving = (0..3).map(|i| {
            let run = world.import_file(&format!("{round}-{i}.csv"), format!("code\nR{round}-{i}\n"));
            let mut run = run.with_own_connections(&world);
            async move {
                run.until(State::LoadFiles).await;
                run
            }
        });
        let parking = holder.with_own_connections(&world);
        let (arrived, parked) = tokio::join!(join_all(arriving), parking.await_approval());
        parked.unwrap();
        let (mut working, mut waiting) = (Vec::new(), Vec::new());
        for run in arrived {
            if run.at == State::LoadFiles { working.push(run) } else { waiting.push(run) }
        }
        // Who was woken opens again.
        for mut run in waiting {
            if working.is_empty() && count_wakes(&world, &run).await == 1 {
                run.at = State::Open;
                run.until(State::LoadFiles).await.expect(State::LoadFiles);
                working.push(run);
            } else {
                assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
            }
        }
        assert_eq!(working.len(), 1, "round {round}");
        holder = working.remove(0);
        holder.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    }
}
