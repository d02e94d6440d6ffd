//! Unreadable files in S3: the import fails with the file's name, a stable reason and advice.

use crate::csv;
use crate::merchant::Merchant;
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::files::gzip;
use serde_json::json;

#[tokio::test]
async fn an_unreadable_file_fails_with_a_reason_and_advice() {
    let merchant = Merchant::new("bad files").await;
    merchant.add_codes(&["KEPT"]).await;
    let zipped = gzip(&csv::file(&csv::codes("G", 0..500)));
    let utf16: Vec<u8> =
        std::iter::once(0xFEFF).chain("code\nA\n".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let wide = format!("code{}\nA\n", ",another column".repeat(100_000));
    let cases: [(&str, Vec<u8>, &str, &str); 8] = [
        ("empty.csv", Vec::new(), "empty_file", "remove the file"),
        ("header.csv", b"code,serial\n".to_vec(), "header_only", "fill it"),
        ("no-code.csv", b"serial,points\nS,1\n".to_vec(), "no_code_column", "name the column"),
        ("twice.csv", b"Code,CODE\nA,B\n".to_vec(), "duplicate_column", "keep one"),
        ("utf16.csv", utf16, "utf16", "UTF-8"),
        ("cut.csv.gz", zipped[..zipped.len() / 2].to_vec(), "truncated_gzip", "again"),
        ("book.csv", b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml".to_vec(), "not_csv", "CSV"),
        ("wide.csv", wide.into_bytes(), "header_too_long", "first line"),
    ];
    for (name, body, ..) in &cases {
        merchant.put(&merchant.key("import", name), body.clone()).await;
    }
    let jobs = merchant.imports(cases.len()).await;
    for (name, _, reason, advice) in &cases {
        let key = merchant.key("import", name);
        let job = jobs.iter().find(|job| job["source"]["files"][0] == json!(key)).expect("an import of each");
        let job = crate::merchant::id_of(job);
        let failed = merchant.wait_for_status(&job, "failed").await;
        let says = failed["error_message"].as_str().expect("a reason");
        assert!(says.contains(&key) && says.contains(reason) && says.contains(advice), "{name}: {says}");
        let error = &failed["validation_errors"][0];
        assert_eq!((&error["file"], &error["reason"]), (&json!(key), &json!(reason)), "{failed:#}");
        let file = &merchant.files(&job).await[0];
        assert_eq!((&file["status"], &file["error_reason"]), (&json!("failed"), &json!(reason)));
        let ended = merchant.execution_of(&job).await;
        assert_eq!(
            (ended.status.clone(), ended.error.as_str()),
            (ExecutionStatus::Failed, "FileRejected"),
            "{ended:?}"
        );
        assert!(merchant.staging_tables(&job, 'b').await.is_empty(), "{name}");
    }
    assert_eq!(merchant.count_codes().await, 1);
    assert_eq!(merchant.wait_for_rest().await, cases.len());
}
