//! Files of an import are replaced or left out: the next execution goes on with what is loaded.

use crate::csv;
use crate::merchant::{Merchant, counts};
use onceload_tests::db::value;
use serde_json::{Value, json};

async fn mend(merchant: &Merchant, job: &str, file_no: u32, body: Value) -> Value {
    let answer = merchant.post(&format!("/imports/{job}/files/{file_no}"), body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn a_failed_file_and_a_waiting_import_are_mended() {
    let merchant = Merchant::new("mended").await;
    let keys = ["1.csv", "2.csv", "3.csv"].map(|name| merchant.key("uploads", name));
    merchant.put(&keys[0], csv::file(&csv::codes("A", 0..20))).await;
    merchant.put(&keys[1], "code,sku\nB-1,\"open\n").await;
    merchant.put(&keys[2], csv::file(&csv::codes("C", 0..20))).await;
    merchant.start_execution(&json!({ "merchant_id": merchant.id, "files": keys })).await;
    let job = merchant.only_import().await;
    merchant.wait_for_status(&job, "failed").await;

    let corrected = merchant.key("uploads", "corrected/2.csv");
    merchant.put(&corrected, csv::file(&csv::codes("B", 0..20))).await;
    let mended = mend(&merchant, &job, 2, json!({ "action": "replace", "key": corrected })).await;
    assert_eq!((&mended["status"], &mended["attempt"]), (&json!("loading"), &json!(2)));
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "clean"]), [60, 60, 60]);
    let files = merchant.files(&job).await;
    assert_eq!((&files[1]["key"], &files[1]["replaces"]), (&json!(corrected), &json!(keys[1])));

    // Another thought: the execution that waits is stopped, and the next one marks what is left.
    let arn = format!("SELECT execution_arn FROM onceload.codes_import_jobs WHERE id = '{job}'");
    let waited = value(&merchant.db, &arn).await;
    mend(&merchant, &job, 3, json!({ "action": "leave_out" })).await;
    assert_eq!(merchant.approve(&job, 60).await.status, 409, "of what it was before");
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "clean"]), [40, 40, 40]);
    assert_eq!(waiting["files"], json!({ "total": 2, "loaded": 2, "failed": 0 }));
    assert_eq!(merchant.files(&job).await[2]["status"], json!("left_out"));
    assert_eq!(merchant.wait_for_end(&waited).await.error, "Superseded");

    let last = merchant.post(&format!("/imports/{job}/files/9"), json!({ "action": "leave_out" })).await;
    assert_eq!(last.status, 404);
    assert_eq!(merchant.approve(&job, 40).await.status, 202);
    let completed = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(completed["verification"]["verified"], json!(true), "{completed:#}");
    assert_eq!((merchant.count_codes_of(&job).await, completed["attempt"].as_i64()), (40, Some(3)));
    assert_eq!(merchant.wait_for_rest().await, 3, "one execution per attempt");
}
