//! Uploads under every kind of name: the rule of the bucket's events lets all of them through, and each ends as an import, as
//! a failed one that says why, or as an execution that had nothing to do.

use crate::csv;
use crate::merchant::{Merchant, id_of};
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::files::gzip;
use serde_json::json;

#[tokio::test]
async fn every_upload_is_an_import_or_says_why_it_is_none() {
    let merchant = Merchant::new("names").await;
    let capitals = merchant.id.to_string().to_uppercase();
    let text = |prefix: &str| csv::file(&csv::codes(prefix, 0..5));
    let imported = [
        (merchant.key("import", "A.CSV"), text("A")),
        (merchant.key("import", "b.txt"), text("B")),
        (merchant.key("import", "sub/folder/c.csv.GZ"), gzip(&text("C"))),
        (merchant.key("import", "d.tsv"), b"code\tsku\nD\t1\n".to_vec()),
    ];
    let refused = [
        (merchant.key("import", "codes.zip"), "unknown_name"),
        (merchant.key("import", "README"), "unknown_name"),
        (merchant.key("import", "manifest.json"), "stage/"),
        (merchant.key("stage", "manifest.json"), "in a folder"),
        (merchant.key("import", "/x.csv"), "key_outside_merchant"),
        (merchant.key("import", "x\t.csv"), "control character"),
        (format!("import/{capitals}/x.csv"), "key_outside_merchant"),
    ];
    let passed_over = ["folder/", ".DS_Store", "._a.csv", "_SUCCESS", "folder_$folder$"];
    for (key, body) in &imported {
        merchant.put(key, body.clone()).await;
    }
    for (key, _) in &refused {
        merchant.put(key, text("X")).await;
    }
    for name in passed_over {
        merchant.put(&merchant.key("import", name), Vec::new()).await;
    }

    let jobs = merchant.imports(imported.len() + refused.len()).await;
    let find = |key: &str| {
        let shown = key.replace('\t', "\\t");
        let job = jobs.iter().find(|job| job["source"]["files"][0] == json!(shown));
        id_of(job.unwrap_or_else(|| panic!("no import of {key}: {jobs:#?}")))
    };
    for (key, _) in &imported {
        merchant.wait_for_status(&find(key), "awaiting_approval").await;
    }
    for (key, word) in &refused {
        let job = merchant.wait_for_status(&find(key), "failed").await;
        assert!(job["error_message"].as_str().is_some_and(|says| says.contains(word)), "{key}: {job:#}");
        let ended = merchant.execution_of(&id_of(&job)).await;
        assert_eq!((ended.status, ended.error.as_str()), (ExecutionStatus::Failed, "InvalidInput"), "{key}");
    }
    for (key, _) in &imported {
        assert_eq!(merchant.cancel(&find(key)).await.status, 202);
    }
    // Of what was passed over there is an execution, and no import.
    merchant.wait_for_rest().await;
    assert_eq!(merchant.imports(imported.len() + refused.len()).await.len(), jobs.len());
    assert_eq!(merchant.count_codes().await, 0);
}

#[tokio::test]
async fn an_upload_of_nobody_is_an_execution_that_says_so() {
    let merchant = Merchant::new("folder of nobody").await;
    // The execution is found by the merchant's id in its input.
    let key = format!("import/inbox/{}.csv", merchant.id);
    merchant.put(&key, csv::file(&csv::codes("A", 0..5))).await;
    let ended = merchant.wait_for_execution().await;
    assert_eq!((ended.status, ended.error.as_str()), (ExecutionStatus::Failed, "InvalidInput"));
    assert!(ended.cause.contains("names no merchant"), "{}", ended.cause);
    let sql = "SELECT count(*) FROM onceload.codes_import_jobs WHERE source_info ->> 'files' LIKE '%inbox%'";
    assert_eq!(onceload_tests::db::value(&merchant.db, sql).await, "0");
}
