//! Steps that are killed or cancelled while they work: a repeated step has its effect once, a cancelled one has none.

use crate::blocker::{Blocker, hold_loader_at_rejects, kill_function};
use crate::csv;
use crate::merchant::{Merchant, counts};
use onceload_tests::db::value;
use serde_json::json;

#[tokio::test]
async fn a_loader_killed_during_its_copy_is_repeated() {
    let merchant = Merchant::new("loader killed").await;
    let busy = merchant.occupy().await;
    let text = [csv::file(&csv::codes("A", 0..2_000)), b"BAD,S,x\n".to_vec()].concat();
    merchant.put(&merchant.key("import", "a.csv"), text).await;
    let job = merchant.only_import().await;
    let rejects = hold_loader_at_rejects(&merchant, &job, &busy).await;
    // Hold its COPY, too, after it has claimed the file and deleted those rejects.
    let tables = merchant.staging_tables(&job, 'b').await;
    let copy =
        Blocker::hold(&merchant.stack, &format!("LOCK TABLE {} IN SHARE MODE", tables.join(", "))).await;
    rejects.release().await;
    let port = copy.wait_for_waiter(&merchant.stack).await;
    let killed = kill_function(&merchant.stack, port);
    assert!(killed.contains("LoadStaging"), "{killed}");
    copy.release().await;

    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "rejected", "clean"]), [2001, 2000, 1, 2000]);
    assert_eq!(waiting["attempt"], json!(1), "the state machine repeated the step");
    let sql = format!("SELECT count(*) FROM onceload.codes_check_temp('{job}')");
    assert_eq!(value(&merchant.db, &sql).await, "2000", "loaded once");
    assert_eq!(merchant.approve(&job, 2000).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(done["verification"]["verified"], json!(true));
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (2000, 1));
}

#[tokio::test]
async fn an_insert_killed_in_its_transaction_is_repeated() {
    let merchant = Merchant::new("insert killed").await;
    let codes = csv::codes("A", 0..2_000);
    let job = merchant.upload_for_approval("a.csv", csv::file(&codes)).await;
    // Another writer has inserted one of the codes and not committed, so the insert waits.
    let sql = format!(
        "INSERT INTO onceload.codes (merchant_id, code) VALUES ('{}', '{}')",
        merchant.id, codes[1_500]
    );
    let insert = Blocker::hold(&merchant.stack, &sql).await;
    assert_eq!(merchant.approve(&job, 2000).await.status, 202);
    let port = insert.wait_for_waiter(&merchant.stack).await;
    assert_eq!(merchant.count_codes().await, 0);
    let killed = kill_function(&merchant.stack, port);
    assert!(killed.contains("InsertCodes"), "{killed}");
    insert.release().await;

    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted", "late_duplicates", "merchant_total"]), [2000, 0, 2000]);
    assert_eq!((&done["verification"]["verified"], &done["attempt"]), (&json!(true), &json!(1)));
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (2000, 1));
}

/// A cancel during the insert prevents it from committing.
#[tokio::test]
async fn an_insert_under_way_is_cancelled() {
    let merchant = Merchant::new("insert cancelled").await;
    let codes = csv::codes("A", 0..200);
    let job = merchant.upload_for_approval("a.csv", csv::file(&codes)).await;
    let sql = format!(
        "INSERT INTO onceload.codes (merchant_id, code) VALUES ('{}', '{}')",
        merchant.id, codes[150]
    );
    let insert = Blocker::hold(&merchant.stack, &sql).await;
    assert_eq!(merchant.approve(&job, 200).await.status, 202);
    insert.wait_for_waiter(&merchant.stack).await;
    let cancelled = merchant.cancel(&job).await;
    assert_eq!(
        (cancelled.status, &cancelled.body["status"]),
        (202, &json!("processing")),
        "the import is asked to stop"
    );
    insert.release().await;
    merchant.wait_for_status(&job, "cancelled").await;
    assert_eq!(merchant.execution_of(&job).await.output["status"], json!("cancelled"));
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (0, 1));
}

/// A cancel during a load stops the loader, although the execution does not know of it.
#[tokio::test]
async fn a_load_under_way_is_cancelled() {
    let merchant = Merchant::new("loader cancelled").await;
    let busy = merchant.occupy().await;
    merchant.put(&merchant.key("import", "a.csv"), csv::file(&csv::codes("A", 0..200))).await;
    let job = merchant.only_import().await;
    let loader = hold_loader_at_rejects(&merchant, &job, &busy).await;
    let cancelled = merchant.cancel(&job).await;
    assert_eq!(
        (cancelled.status, &cancelled.body["status"]),
        (202, &json!("loading")),
        "the import is asked to stop"
    );
    loader.release().await;
    merchant.wait_for_status(&job, "cancelled").await;
    let execution = merchant.execution_of(&job).await;
    assert_eq!(execution.output["status"], json!("cancelled"), "{execution:?}");
    assert_eq!(merchant.files(&job).await[0]["status"], json!("pending"), "its transaction is rolled back");
    assert_eq!((merchant.count_codes().await, merchant.wait_for_rest().await), (0, 1));
}
