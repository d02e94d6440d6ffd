//! kill -9 in the middle of a step: the state machine repeats it, and what it does is done once.

use crate::blocker::{Blocker, kill};
use crate::csv;
use crate::merchant::{Merchant, counts};
use crate::stack::{until, value};
use serde_json::json;

#[tokio::test]
async fn the_loader_in_the_middle_of_its_copy() {
    let merchant = Merchant::new("loader killed").await;
    let busy = merchant.is_busy().await;
    let text = [csv::file(&csv::codes("A", 0..2_000)), b"BAD,S,x\n".to_vec()].concat();
    merchant.put(&merchant.key("import", "a.csv"), text).await;
    let job = merchant.only_import().await;
    let rejects = held_at_its_rejects(&merchant, &job, &busy).await;
    // Its COPY will be held too, with the file claimed and those rejects gone.
    let tables = merchant.staging(&job, 'b').await;
    let copy =
        Blocker::holding(&merchant.stack, &format!("LOCK TABLE {} IN SHARE MODE", tables.join(", "))).await;
    rejects.lets_go().await;
    let port = copy.port_of_waiter(&merchant.stack).await;
    let killed = kill(&merchant.stack, port);
    assert!(killed.contains("LoadStaging"), "{killed}");
    copy.lets_go().await;

    let waiting = merchant.reaches(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "rejected", "clean"]), [2001, 2000, 1, 2000]);
    assert_eq!(waiting["attempt"], json!(1), "the execution went on by itself");
    let sql = format!("SELECT count(*) FROM codes_check_temp('{job}')");
    assert_eq!(value(&merchant.db, &sql).await, "2000", "loaded once");
    assert_eq!(merchant.approve(&job, 2000).await.status, 202);
    let done = merchant.reaches(&job, "completed").await;
    assert_eq!(done["verification"]["verified"], json!(true));
    assert_eq!((merchant.codes_of(&job).await, merchant.at_rest().await), (2000, 1));
}

#[tokio::test]
async fn the_insert_in_the_middle_of_its_transaction() {
    let merchant = Merchant::new("insert killed").await;
    let codes = csv::codes("A", 0..2_000);
    let job = merchant.awaiting("a.csv", csv::file(&codes)).await;
    // Somebody else is about to insert one of its codes: it waits for what becomes of that.
    let sql = format!("INSERT INTO codes (merchant_id, code) VALUES ('{}', '{}')", merchant.id, codes[1_500]);
    let insert = Blocker::holding(&merchant.stack, &sql).await;
    assert_eq!(merchant.approve(&job, 2000).await.status, 202);
    let port = insert.port_of_waiter(&merchant.stack).await;
    assert_eq!(merchant.code_count().await, 0);
    let killed = kill(&merchant.stack, port);
    assert!(killed.contains("InsertCodes"), "{killed}");
    insert.lets_go().await;

    let done = merchant.reaches(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted", "late_duplicates", "merchant_total"]), [2000, 0, 2000]);
    assert_eq!((&done["verification"]["verified"], &done["attempt"]), (&json!(true), &json!(1)));
    assert_eq!((merchant.codes_of(&job).await, merchant.at_rest().await), (2000, 1));
}

/// A cancel that comes while the insert is at work: asked in time, nothing is inserted.
#[tokio::test]
async fn the_insert_is_cancelled_in_the_middle() {
    let merchant = Merchant::new("insert cancelled").await;
    let codes = csv::codes("A", 0..200);
    let job = merchant.awaiting("a.csv", csv::file(&codes)).await;
    let sql = format!("INSERT INTO codes (merchant_id, code) VALUES ('{}', '{}')", merchant.id, codes[150]);
    let insert = Blocker::holding(&merchant.stack, &sql).await;
    assert_eq!(merchant.approve(&job, 200).await.status, 202);
    insert.port_of_waiter(&merchant.stack).await;
    let cancelled = merchant.cancel(&job).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (202, &json!("processing")), "asked to stop");
    insert.lets_go().await;
    merchant.reaches(&job, "cancelled").await;
    assert_eq!(merchant.execution_of(&job).await.output["status"], json!("cancelled"));
    assert_eq!((merchant.code_count().await, merchant.at_rest().await), (0, 1));
}

/// A cancel that comes while a file is loaded: the loader stops by itself, though the execution knows of nothing.
#[tokio::test]
async fn the_loader_is_cancelled_in_the_middle() {
    let merchant = Merchant::new("loader cancelled").await;
    let busy = merchant.is_busy().await;
    merchant.put(&merchant.key("import", "a.csv"), csv::file(&csv::codes("A", 0..200))).await;
    let job = merchant.only_import().await;
    let loader = held_at_its_rejects(&merchant, &job, &busy).await;
    let cancelled = merchant.cancel(&job).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (202, &json!("loading")), "asked to stop");
    loader.lets_go().await;
    merchant.reaches(&job, "cancelled").await;
    let execution = merchant.execution_of(&job).await;
    assert_eq!(execution.output["status"], json!("cancelled"), "{execution:?}");
    assert_eq!(merchant.files(&job).await[0]["status"], json!("pending"), "its transaction is rolled back");
    assert_eq!((merchant.code_count().await, merchant.at_rest().await), (0, 1));
}

/// The job queues behind `busy`; then that gives way, and the loader is held where it clears the rejects of an
/// earlier load.
pub async fn held_at_its_rejects(merchant: &Merchant, job: &str, busy: &str) -> Blocker {
    until("the queue", async || {
        (merchant.import(job).await["phase"] == json!("waiting_for_merchant")).then_some(())
    })
    .await;
    let earlier = format!(
        "INSERT INTO import_rejects (job_id, record_number, line_number, file, reason, raw)
         SELECT job_id, 7, 8, key, 'empty_code', '' FROM import_files WHERE job_id = '{job}'"
    );
    merchant.db.batch_execute(&earlier).await.expect("an earlier reject");
    let rejects = format!("SELECT FROM import_rejects WHERE job_id = '{job}' FOR UPDATE");
    let rejects = Blocker::holding(&merchant.stack, &rejects).await;
    merchant.gives_way(busy).await;
    rejects.port_of_waiter(&merchant.stack).await;
    rejects
}
