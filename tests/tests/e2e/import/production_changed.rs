//! Production changes between the duplicate check and the insert.

use crate::csv;
use crate::merchant::{Merchant, counts};
use serde_json::json;

/// Up to 1 % of the clean codes may have appeared since; they are skipped and recorded.
#[tokio::test]
async fn a_few_late_duplicates_are_skipped_and_recorded() {
    let merchant = Merchant::new("a few late").await;
    let codes = csv::codes("A", 0..300);
    let job = merchant.upload_for_approval("a.csv", csv::file(&codes)).await;
    merchant.add_codes(&codes[100..103]).await;
    assert_eq!(merchant.approve(&job, 300).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    let names = ["clean", "inserted", "late_duplicates", "database_duplicates", "merchant_total"];
    assert_eq!(counts(&done, names), [300, 297, 3, 0, 300]);
    assert_eq!(done["verification"]["verified"], json!(true));
    let execution = merchant.execution_of(&job).await;
    assert_eq!(execution.output["insert"]["codes_inserted"], json!(297));
    assert_eq!(execution.output["insert"]["late_duplicates"], json!(3));
    assert_eq!((merchant.count_codes_of(&job).await, merchant.count_codes().await), (297, 300));
    merchant.wait_for_rest().await;
}

#[tokio::test]
async fn many_late_duplicates_ask_again() {
    let merchant = Merchant::new("many late").await;
    let codes = csv::codes("A", 0..300);
    let job = merchant.upload_for_approval("a.csv", csv::file(&codes)).await;
    merchant.add_codes(&codes[..30]).await;
    assert_eq!(merchant.approve(&job, 300).await.status, 202);
    let waiting = merchant.wait_for_next_approval(&job, 0, 1).await;
    assert_eq!(counts(&waiting, ["clean", "database_duplicates", "inserted"]), [270, 30, -1]);
    assert_eq!(merchant.count_codes_of(&job).await, 0, "all or nothing");
    let old = merchant.approve(&job, 300).await;
    assert_eq!((old.status, &old.body["clean"]), (409, &json!(270)), "the old approval is void");
    assert_eq!(merchant.approve(&job, 270).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["clean", "inserted", "late_duplicates", "merchant_total"]), [270, 270, 0, 300]);
    let output = merchant.execution_of(&job).await.output;
    assert_eq!((&output["mark"]["clean_count"], &output["verify"]["verified"]), (&json!(270), &json!(true)));
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (270, 1));
}

/// All codes appeared since; the second check finds none clean, and no approval is needed.
#[tokio::test]
async fn an_import_whose_codes_all_appeared_completes_empty() {
    let merchant = Merchant::new("all late").await;
    let codes = csv::codes("A", 0..30);
    let job = merchant.upload_for_approval("a.csv", csv::file(&codes)).await;
    merchant.add_codes(&codes).await;
    assert_eq!(merchant.approve(&job, 30).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["clean", "inserted", "database_duplicates"]), [0, 0, 30]);
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (0, 1));
}

/// A rollback of another import that touched none of these codes takes no approval back.
#[tokio::test]
async fn a_rollback_of_other_codes_leaves_the_approval_standing() {
    let merchant = Merchant::new("rollback of others").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..60))).await;
    let rollback =
        format!("UPDATE onceload.merchants SET codes_epoch = codes_epoch + 1 WHERE id = '{}'", merchant.id);
    merchant.db.batch_execute(&rollback).await.expect("a rollback");
    assert_eq!(merchant.approve(&job, 60).await.status, 202);
    let done = merchant.wait_for_status_unasked(&job, "completed").await;
    assert_eq!((counts(&done, ["inserted"]), &done["attempt"]), ([60], &json!(1)));
    merchant.wait_for_rest().await;
}

/// A rollback of another import may have deleted codes that counted as duplicates.
#[tokio::test]
async fn a_rollback_of_another_import_asks_again() {
    let merchant = Merchant::new("rollback").await;
    let codes = csv::codes("A", 0..100);
    merchant.add_codes(&codes[..40]).await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&codes)).await;
    assert_eq!(counts(&merchant.import(&job).await, ["clean"]), [60]);
    let rollback = format!(
        "BEGIN; UPDATE onceload.merchants SET codes_epoch = codes_epoch + 1 WHERE id = '{id}';
         DELETE FROM onceload.codes WHERE merchant_id = '{id}' AND code < 'A-00010'; COMMIT",
        id = merchant.id
    );
    merchant.db.batch_execute(&rollback).await.expect("a rollback");
    assert_eq!(merchant.approve(&job, 60).await.status, 202);
    let waiting = merchant.wait_for_next_approval(&job, 0, 1).await;
    assert_eq!(counts(&waiting, ["clean", "database_duplicates"]), [70, 30]);
    assert_eq!(merchant.approve(&job, 70).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted", "merchant_total"]), [70, 100]);
    assert_eq!(done["verification"]["verified"], json!(true));
    merchant.wait_for_rest().await;
}
