//! A crash of the server empties unlogged staging; the frozen versions are loaded again.

use crate::csv;
use crate::merchant::{Merchant, counts};
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::json;

#[tokio::test]
async fn emptied_staging_is_loaded_again() {
    let merchant = Merchant::new("staging emptied").await;
    let text = [csv::file(&csv::codes("A", 0..150)), b"BAD,S,x\n".to_vec()].concat();
    let key = merchant.key("import", "a.csv");
    let job = merchant.upload_for_approval("a.csv", text).await;
    let frozen = merchant.files(&job).await[0]["version_id"].clone();
    // The import loads the frozen version, whatever is uploaded later.
    merchant.put(&merchant.key("uploads", "a.csv"), "code\nLATER\n").await;
    let tables = merchant.staging_tables(&job, 'b').await;
    merchant.db.batch_execute(&format!("TRUNCATE {}", tables.join(", "))).await.expect("staging is lost");

    let first = merchant.running_execution(&job).await;
    assert_eq!(merchant.approve(&job, 150).await.status, 202);
    let waiting = merchant.wait_for_next_approval(&job, 1, 0).await;
    let names = ["records", "staged", "rejected", "clean"];
    assert_eq!(counts(&waiting, names), [151, 150, 1, 150]);
    assert_eq!((&waiting["attempt"], merchant.count_codes_of(&job).await), (&json!(2), 0));
    // The first execution has handed the import over to one with a history of its own.
    let next = merchant.running_execution(&job).await;
    assert!(next.ends_with(&format!(":{job}-2")), "{next}");
    let ended = merchant.wait_for_end(&first).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}");
    assert_eq!(ended.output, json!({ "job_id": job, "status": "continued", "execution": next }));
    assert_eq!(merchant.files(&job).await[0]["version_id"], frozen);
    assert_eq!(merchant.approve(&job, 150).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted", "rejected"]), [150, 1]);
    assert_eq!(done["verification"]["verified"], json!(true), "{key}");
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (150, 2));
}

#[tokio::test]
async fn dropped_staging_is_loaded_again() {
    let merchant = Merchant::new("staging dropped").await;
    let job = merchant.upload_for_approval("a.csv", csv::file(&csv::codes("A", 0..150))).await;
    let tables =
        [merchant.staging_tables(&job, 'b').await, merchant.staging_tables(&job, 'd').await].concat();
    merchant.db.batch_execute(&format!("DROP TABLE {}", tables.join(", "))).await.expect("staging is lost");
    assert_eq!(merchant.approve(&job, 150).await.status, 202);
    merchant.wait_for_next_approval(&job, 1, 0).await;
    assert_eq!(merchant.approve(&job, 150).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted"]), [150]);
    assert_eq!((merchant.count_codes_of(&job).await, merchant.wait_for_rest().await), (150, 2));
}
