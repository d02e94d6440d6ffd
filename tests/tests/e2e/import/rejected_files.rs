//! Rejected files and records: a bad file among good ones, and too many rejects.

use crate::csv;
use crate::merchant::{Merchant, counts, id_of};
use onceload_tests::db::rows;
use serde_json::json;

#[tokio::test]
async fn a_rejected_file_leaves_the_others_loaded() {
    let merchant = Merchant::new("rejected file").await;
    let keys = ["1.csv", "2.csv", "3.csv"].map(|name| merchant.key("uploads", name));
    merchant.put(&keys[0], csv::file(&csv::codes("A", 0..20))).await;
    let mut broken = csv::file(&csv::codes("B", 0..20));
    // The quote opens in line 22, after a header and 20 records.
    broken.extend_from_slice(b"B-99999,\"never closed,1\nB-99998,S,1\n");
    merchant.put(&keys[1], broken).await;
    merchant.put(&keys[2], csv::file(&csv::codes("C", 0..20))).await;
    let input = json!({ "merchant_id": merchant.id, "files": keys });
    let execution = merchant.start_execution(&input).await;
    let job = merchant.only_import().await;

    let names_the_fault = async |attempt: u32| {
        let failed = merchant.wait_for_status(&job, "failed").await;
        assert_eq!(failed["attempt"], json!(attempt));
        let says = failed["error_message"].as_str().expect("a reason");
        for part in [keys[1].as_str(), "line 22", "unterminated_quote", "close the quote"] {
            assert!(says.contains(part), "{part}: {says}");
        }
        let errors = failed["validation_errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 1, "{failed:#}");
        assert_eq!(
            ["file", "reason", "line"].map(|name| errors[0][name].clone()),
            [json!(keys[1]), json!("unterminated_quote"), json!(22)]
        );
        assert_eq!(failed["files"], json!({ "total": 3, "loaded": 2, "failed": 1 }));
        assert!(merchant.staging_tables(&job, 'd').await.is_empty(), "the duplicate check must not start");
        merchant.execution_of(&job).await
    };
    let ended = names_the_fault(1).await;
    assert_eq!(ended.error, "FileRejected", "{ended:?}");
    let files = merchant.files(&job).await;
    let statuses: Vec<_> = files.iter().map(|file| file["status"].as_str().unwrap_or_default()).collect();
    assert_eq!(statuses, ["loaded", "failed", "loaded"]);
    assert_eq!(files[1]["error_reason"], json!("unterminated_quote"));
    assert_eq!((&files[0]["staged"], &files[2]["staged"]), (&json!(20), &json!(20)));
    let loaded = format!(
        "SELECT loaded_at FROM onceload.import_files WHERE job_id = '{job}' AND status = 'loaded' ORDER BY file_no"
    );
    let before = rows(&merchant.db, &loaded).await;

    // A later version belongs to a later import, so the retry finds the same fault in the frozen version.
    merchant.put(&keys[1], csv::file(&csv::codes("B", 0..20))).await;
    let answer = merchant.post(&format!("/imports/{job}/retry"), "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let ended_again = names_the_fault(2).await;
    assert_eq!(ended_again.error, "FileRejected", "{ended_again:?}");
    assert_eq!(rows(&merchant.db, &loaded).await, before, "loaded files are not loaded again");
    assert_eq!(merchant.count_codes().await, 0);

    merchant.start_execution(&input).await;
    let second = id_of(&merchant.imports(2).await[1]);
    let waiting = merchant.wait_for_status(&second, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "clean"]), [60, 60, 60]);
    assert_eq!(merchant.approve(&second, 60).await.status, 202);
    merchant.wait_for_status(&second, "completed").await;
    assert_eq!((merchant.count_codes_of(&job).await, merchant.count_codes_of(&second).await), (0, 60));
    assert_eq!(merchant.wait_for_end(&execution).await.error, "FileRejected");
    assert_eq!(merchant.wait_for_rest().await, 3);
}

#[tokio::test]
async fn more_rejects_than_allowed_fail_the_file() {
    let merchant = Merchant::new("too many rejects").await;
    let key = merchant.key("uploads", "a.csv");
    merchant.put(&key, "code,points\nA,1\nB,1e5\nC,2.5\nD,none\nE,2\n").await;
    let refused = json!({ "merchant_id": merchant.id, "files": [key], "options": { "max_rejects": 2 } });
    merchant.start_execution(&refused).await;
    let job = merchant.only_import().await;
    let failed = merchant.wait_for_status(&job, "failed").await;
    assert_eq!(failed["validation_errors"][0]["reason"], json!("too_many_rejects"), "{failed:#}");

    let allowed = json!({ "merchant_id": merchant.id, "files": [key], "options": { "max_rejects": 3 } });
    merchant.start_execution(&allowed).await;
    let job = id_of(&merchant.imports(2).await[1]);
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "staged", "rejected"]), [5, 2, 3]);
    assert_eq!(merchant.cancel(&job).await.status, 202);
    assert_eq!(merchant.count_codes().await, 0);
    merchant.wait_for_rest().await;
}
