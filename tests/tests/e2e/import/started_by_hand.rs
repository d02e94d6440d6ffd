//! Executions that are started by hand: the request is validated, and a job shows the fault if the merchant is known.

use crate::csv;
use crate::merchant::{Merchant, counts, id_of};
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::db::value;
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn an_execution_imports_files_or_a_prefix() {
    let merchant = Merchant::new("by hand").await;
    let keys = ["a.csv", "b.csv"].map(|name| merchant.key("uploads", &format!("u1/{name}")));
    merchant.put(&keys[0], csv::file(&csv::codes("A", 0..30))).await;
    merchant.put(&keys[1], csv::file(&csv::codes("B", 0..30))).await;

    let execution =
        merchant.start_execution(&json!({ "merchant_id": merchant.id, "files": [keys[0]] })).await;
    let first = merchant.only_import().await;
    merchant.wait_for_status(&first, "awaiting_approval").await;

    // The same files are refused until the first import has ended, and the error names it.
    let again = merchant.start_execution(&json!({ "merchant_id": merchant.id, "files": [keys[0]] })).await;
    let refused = id_of(&merchant.imports(2).await[1]);
    let failed = merchant.wait_for_status(&refused, "failed").await;
    assert!(failed["error_message"].as_str().is_some_and(|says| says.contains(&first)), "{failed:#}");
    assert_eq!(merchant.wait_for_end(&again).await.error, "ImportInProgress");

    assert_eq!(merchant.approve(&first, 30).await.status, 202);
    merchant.wait_for_status(&first, "completed").await;
    assert_eq!(merchant.wait_for_end(&execution).await.status, ExecutionStatus::Succeeded);

    let execution = merchant
        .start_execution(&json!({ "merchant_id": merchant.id, "prefix": merchant.key("uploads", "u1/") }))
        .await;
    let second = id_of(&merchant.imports(3).await[2]);
    let waiting = merchant.wait_for_status(&second, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "database_duplicates", "clean"]), [60, 30, 30]);
    assert_eq!(merchant.approve(&second, 30).await.status, 202);
    merchant.wait_for_status(&second, "completed").await;
    assert_eq!(merchant.wait_for_end(&execution).await.output["insert"]["codes_inserted"], json!(30));
    assert_eq!(merchant.count_codes().await, 60);
    assert_eq!(merchant.wait_for_rest().await, 3, "objects under uploads/ start nothing");
}

#[tokio::test]
async fn an_invalid_request_fails_a_job_that_names_the_fault() {
    let merchant = Merchant::new("refused").await;
    let other = Merchant::on(merchant.stack.clone(), "another tenant").await;
    let foreign = other.key("uploads", "secret.csv");
    other.put(&foreign, csv::file(&csv::codes("SECRET", 0..5))).await;
    let own = merchant.key("uploads", "a.csv");
    merchant.put(&own, csv::file(&csv::codes("A", 0..5))).await;
    let id = merchant.id;

    let cases = [
        (json!({ "merchant_id": id, "files": [own, foreign] }), "key_outside_merchant"),
        (json!({ "merchant_id": id, "prefix": format!("uploads/{}/", other.id) }), "key_outside_merchant"),
        (json!({ "merchant_id": id, "prefix": format!("uploads/{id}") }), "key_outside_merchant"),
        (
            json!({ "merchant_id": id, "files": [format!("uploads/{id}/../{}/secret.csv", other.id)] }),
            "key_outside_merchant",
        ),
        (json!({ "merchant_id": id, "files": [format!("uploads/{id}/folder/")] }), "is a folder"),
        (json!({ "merchant_id": id, "files": [own, own] }), "twice"),
        (json!({ "merchant_id": id, "files": [] }), "is empty"),
        (json!({ "merchant_id": id, "prefix": format!("uploads/{id}/nothing/") }), "no file under"),
        (json!({ "merchant_id": id, "files": [own], "options": { "max_reject": 1 } }), "max_reject"),
        (json!({ "merchant_id": id, "files": [own], "prefix": own }), "not both"),
        (json!({ "merchant_id": id }), "not neither"),
        (json!({ "merchant_id": id, "files": [own], "mapping": { "colour": "Colour" } }), "colour"),
        (json!({ "merchant_id": id, "files": [own], "bucket": "elsewhere" }), "bucket"),
    ];
    let ended = futures_util::future::join_all(cases.iter().map(async |(input, says)| {
        let execution = merchant.start_execution(input).await;
        let ended = merchant.wait_for_end(&execution).await;
        let sql = format!("SELECT id FROM onceload.codes_import_jobs WHERE execution_arn = '{execution}'");
        (says, ended, value(&merchant.db, &sql).await)
    }))
    .await;
    for (says, ended, job) in ended {
        assert_eq!(
            (ended.status.clone(), ended.error.as_str()),
            (ExecutionStatus::Failed, "InvalidInput"),
            "{says}: {ended:?}"
        );
        assert!(ended.cause.contains(says), "{says}: {ended:?}");
        let failed = merchant.import(&job).await;
        assert_eq!(failed["status"], json!("failed"), "{says}");
        assert!(failed["error_message"].as_str().is_some_and(|message| message.contains(says)), "{failed:#}");
        assert_eq!(failed["validation_errors"][0]["reason"], json!("InvalidInput"), "{failed:#}");
        assert_eq!(failed["files"]["total"], json!(0), "{says}");
        assert!(merchant.staging_tables(&job, 'b').await.is_empty(), "{says}: nothing may be staged");
    }
    assert_eq!(merchant.imports(cases.len()).await.len(), cases.len());
    assert_eq!((merchant.count_codes().await, other.count_codes().await), (0, 0));
    merchant.wait_for_rest().await;
}

#[tokio::test]
async fn an_unknown_merchant_gets_no_job() {
    let merchant = Merchant::new("unknown").await;
    let nobody = Uuid::now_v7();
    let execution = merchant
        .start_execution(&json!({ "merchant_id": nobody, "files": [format!("uploads/{nobody}/a.csv")] }))
        .await;
    let ended = merchant.wait_for_end(&execution).await;
    assert_eq!(
        (ended.status.clone(), ended.error.as_str()),
        (ExecutionStatus::Failed, "InvalidInput"),
        "{ended:?}"
    );
    assert!(ended.cause.contains("merchant"), "{ended:?}");
    let sql = format!("SELECT count(*) FROM onceload.codes_import_jobs WHERE merchant_id = '{nobody}'");
    assert_eq!(value(&merchant.db, &sql).await, "0");

    for input in [json!({ "anything": 1 }), json!([]), json!({ "job_id": Uuid::now_v7(), "attempt": 1 })] {
        let ended = merchant.wait_for_end(&merchant.start_execution(&input).await).await;
        assert_eq!(
            (ended.status.clone(), ended.error.as_str()),
            (ExecutionStatus::Failed, "InvalidInput"),
            "{input}: {ended:?}"
        );
    }
}
