//! Files and batches that arrive in S3 are imported, and every record is counted.

use crate::csv;
use crate::merchant::{Merchant, counts};
use aws_sdk_sfn::types::ExecutionStatus;
use futures_util::SinkExt;
use onceload_tests::db::rows;
use onceload_tests::files::gzip;
use onceload_tests::results::{INSERT, INSERT_NOTHING, MARK, OUTPUT, VALIDATE, VERIFY};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::pin;
use xtask::generate::{Compression, Plan, generate};

const COUNTS: [&str; 8] = [
    "records",
    "staged",
    "rejected",
    "skipped",
    "internal_duplicates",
    "database_duplicates",
    "both_duplicates",
    "clean",
];

#[tokio::test]
async fn an_uploaded_file_reaches_production() {
    let merchant = Merchant::new("one file").await;
    let old = csv::codes("OLD", 0..40);
    merchant.add_codes(&old).await;
    // 200 new codes, 10 of them twice; 20 old ones, one of them twice; 3 rejects and 2 blank lines.
    let mut text = csv::codes("NEW", 0..200);
    text.extend(csv::codes("NEW", 0..10));
    text.extend(csv::codes("OLD", 0..20));
    text.extend(csv::codes("OLD", 0..1));
    let mut text = csv::file(&text);
    text.extend_from_slice(b"BAD-1,S,many\n,S,1\n\n\n\"BAD-2\",S,1,extra\n");
    let key = merchant.key("import", "x.csv");
    let version = merchant.put(&key, text.clone()).await;

    let job = merchant.only_import().await;
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, COUNTS), [236, 231, 3, 2, 11, 21, 1, 200]);
    assert_eq!(waiting["files"], json!({ "total": 1, "loaded": 1, "failed": 0 }));
    assert_eq!(waiting["bytes"], json!({ "total": text.len(), "done": text.len() }));
    assert_eq!(waiting["created_by"], Value::Null, "an upload has no creator");
    assert_eq!((&waiting["attempt"], &waiting["blocked"]), (&json!(1), &json!(false)));
    let files = merchant.files(&job).await;
    assert_eq!(files.len(), 1);
    assert_eq!((&files[0]["key"], &files[0]["version_id"]), (&json!(key), &json!(version)));
    assert_eq!(
        ["status", "records", "staged", "rejected", "skipped"].map(|name| files[0][name].clone()),
        [json!("loaded"), json!(236), json!(231), json!(3), json!(2)]
    );
    let rejects = rows(
        &merchant.db,
        &format!(
            "SELECT record_number, line_number, reason, convert_from(raw, 'UTF8') FROM onceload.import_rejects
              WHERE job_id = '{job}' ORDER BY record_number"
        ),
    )
    .await;
    let rejects: Vec<Vec<&str>> =
        rejects.iter().map(|row| row.iter().map(|text| text.trim_end()).collect()).collect();
    assert_eq!(
        rejects,
        [
            ["232", "233", "invalid_points", "BAD-1,S,many"],
            ["233", "234", "empty_code", ",S,1"],
            ["236", "237", "extra_fields", "\"BAD-2\",S,1,extra"],
        ]
    );
    assert_eq!(merchant.count_codes().await, 40, "nothing is inserted before the approval");

    assert_eq!(merchant.approve(&job, 200).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["inserted", "late_duplicates", "merchant_total"]), [200, 0, 240]);
    assert!(done["completed_at"].is_string() && done["error_message"].is_null(), "{done:#}");
    assert_eq!(done["verification"]["verified"], json!(true));
    assert_eq!((merchant.count_codes_of(&job).await, merchant.count_codes().await), (200, 240));

    let execution = merchant.execution_of(&job).await;
    assert_eq!(execution.status, ExecutionStatus::Succeeded, "{execution:?}");
    let output = &execution.output;
    OUTPUT.check(output);
    for (member, names) in [("mark", MARK), ("validate", VALIDATE), ("insert", INSERT), ("verify", VERIFY)] {
        names.check(&output[member]);
    }
    assert_eq!((&output["job_id"], &output["status"]), (&json!(job), &json!("completed")));
    assert_eq!(
        output["mark"],
        json!({ "success": true, "total_rows": 231, "internal_duplicates": 11, "database_duplicates": 21,
                "both_duplicates": 1, "clean_count": 200, "chunks_processed": done["chunks"]["total"] })
    );
    let validate = &output["validate"];
    assert_eq!((&validate["valid"], &validate["total_clean_codes"]), (&json!(true), &json!(200)));
    assert_eq!((&validate["validation_errors"], &validate["errors"]), (&json!(0), &json!([])));
    assert_eq!(validate["new_db_duplicates_found"], json!(0));
    assert_eq!(
        output["insert"],
        json!({ "success": true, "job_id": job, "codes_inserted": 200, "late_duplicates": 0,
                "message": "Successfully inserted 200 clean codes to production" })
    );
    let verify = &output["verify"];
    assert_eq!(
        ["success", "job_id", "expected_count", "actual_count", "verified"].map(|name| verify[name].clone()),
        [json!(true), json!(job), json!(200), json!(200), json!(true)]
    );
    assert_eq!(merchant.wait_for_rest().await, 1);
}

#[tokio::test]
async fn a_generated_batch_yields_the_generators_counts() {
    let merchant = Merchant::new("a batch").await;
    let plan = Plan {
        seed: 7,
        merchant_id: merchant.id.to_string(),
        rows: 6_000,
        files: 9,
        internal: 120,
        existing: 1_500,
        both: 11,
        rejects: 60,
        skipped: 40,
        production: 2_000,
        compression: Compression::Mixed,
        ..Plan::workload()
    };
    let directory = std::env::temp_dir().join(format!("onceload-e2e-{}", merchant.id));
    let expected = generate(&plan, &directory).expect("a batch");
    copy_into_production(&merchant, &directory.join(xtask::generate::PRODUCTION)).await;
    let batch = merchant.key("stage", "b1");
    for file in &expected.files {
        let bytes = std::fs::read(directory.join(&file.name)).expect("a generated file");
        merchant.put(&format!("{batch}/{}", file.name), bytes).await;
    }
    let manifest = std::fs::read(directory.join(xtask::generate::MANIFEST)).expect("the manifest");
    merchant.put(&format!("{batch}/manifest.json"), manifest).await;
    std::fs::remove_dir_all(&directory).expect("the batch is removed");

    let job = merchant.only_import().await;
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    let totals = [
        expected.records,
        expected.staged,
        expected.rejected,
        expected.skipped,
        expected.internal_duplicates,
        expected.database_duplicates,
        expected.both_duplicates,
        expected.clean,
    ];
    assert_eq!(counts(&waiting, COUNTS), totals.map(u64::cast_signed));
    let files = merchant.files(&job).await;
    let found: Vec<_> = files
        .iter()
        .map(|file| ["records", "staged", "rejected", "skipped"].map(|n| file[n].as_u64()))
        .collect();
    let wanted: Vec<_> =
        expected.files.iter().map(|f| [f.records, f.staged, f.rejected, f.skipped].map(Some)).collect();
    assert_eq!(found, wanted);
    let sql = format!(
        "SELECT reason, count(*) FROM onceload.import_rejects WHERE job_id = '{job}' GROUP BY reason"
    );
    let reasons: BTreeMap<String, u64> = rows(&merchant.db, &sql)
        .await
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().expect("a count")))
        .collect();
    assert_eq!(reasons, expected.rejects_by_reason);

    assert_eq!(merchant.approve(&job, expected.clean).await.status, 202);
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(done["verification"]["verified"], json!(true));
    assert_eq!(merchant.count_codes_of(&job).await, expected.clean);
    assert_eq!(merchant.count_codes().await, expected.production + expected.clean);
    assert_eq!(merchant.wait_for_rest().await, 1, "the files of a batch start nothing, its manifest does");
}

/// Copies the codes of a file in COPY's text format into production.
async fn copy_into_production(merchant: &Merchant, file: &std::path::Path) {
    let text = std::fs::read(file).expect("production codes");
    merchant.db.batch_execute("CREATE TEMP TABLE old (code text COLLATE \"C\")").await.expect("a table");
    let copy = merchant.db.copy_in("COPY old (code) FROM STDIN").await.expect("COPY");
    let mut copy = pin!(copy);
    copy.send(bytes::Bytes::from(text)).await.expect("codes");
    copy.finish().await.expect("codes");
    let sql = format!(
        "INSERT INTO onceload.codes (merchant_id, code) SELECT '{}', code FROM old; DROP TABLE old",
        merchant.id
    );
    merchant.db.batch_execute(&sql).await.expect("production");
}

#[tokio::test]
async fn a_file_without_new_codes_completes_without_approval() {
    let merchant = Merchant::new("nothing new").await;
    let codes = csv::codes("OLD", 0..25);
    merchant.add_codes(&codes).await;
    merchant.put(&merchant.key("import", "again.csv.gz"), gzip(&csv::file(&codes))).await;
    let job = merchant.only_import().await;
    let done = merchant.wait_for_status(&job, "completed").await;
    assert_eq!(counts(&done, ["staged", "database_duplicates", "clean", "inserted"]), [25, 25, 0, 0]);
    let says = done["error_message"].as_str().unwrap_or_default();
    assert!(says.contains("No clean codes to insert"), "{done:#}");
    let execution = merchant.execution_of(&job).await;
    assert_eq!(execution.status, ExecutionStatus::Succeeded);
    assert_eq!(execution.output["insert"]["message"], json!("No clean codes to insert"));
    OUTPUT.check(&execution.output);
    MARK.check(&execution.output["mark"]);
    VALIDATE.check(&execution.output["validate"]);
    INSERT_NOTHING.check(&execution.output["insert"]);
    assert_eq!(execution.output["verify"], Value::Null, "nothing to verify");
    assert_eq!(merchant.count_codes().await, 25);
    merchant.wait_for_rest().await;
}

#[tokio::test]
async fn a_manifest_names_files_mapping_and_options() {
    let merchant = Merchant::new("manifests").await;
    let codes = csv::codes("M", 0..10);
    for name in ["missing/a.csv", "unknown/a.csv", "all/a.csv", "all/b.csv"] {
        merchant.put(&merchant.key("stage", name), csv::file(&codes)).await;
    }

    let manifest = json!({ "files": ["a.csv", "gone.csv"] });
    merchant.put(&merchant.key("stage", "missing/manifest.json"), manifest.to_string()).await;
    let job = merchant.only_import().await;
    let failed = merchant.wait_for_status(&job, "failed").await;
    let gone = merchant.key("stage", "missing/gone.csv");
    let says = failed["error_message"].as_str().expect("a reason");
    assert!(
        says.contains(&gone) && says.contains("missing_object") && says.contains("upload the file"),
        "{says}"
    );
    assert_eq!(failed["validation_errors"][0]["reason"], json!("missing_object"));
    assert_eq!(failed["validation_errors"][0]["file"], json!(gone));
    assert!(merchant.staging_tables(&job, 'b').await.is_empty());

    let manifest = json!({ "files": ["a.csv"], "colour": "blue" });
    merchant.put(&merchant.key("stage", "unknown/manifest.json"), manifest.to_string()).await;
    let job = merchant.imports(2).await.pop().map(|job| crate::merchant::id_of(&job)).expect("an import");
    let failed = merchant.wait_for_status(&job, "failed").await;
    let says = failed["error_message"].as_str().expect("a reason");
    assert!(says.contains("colour") && says.contains("manifest.json"), "{says}");
    assert_eq!(merchant.execution_of(&job).await.error, "InvalidInput");

    // A manifest without `files` means all files beside it. It may map columns and set options.
    let manifest = json!({ "mapping": { "code": "serial" }, "options": { "max_duplicate_ratio": 1.0 } });
    merchant.put(&merchant.key("stage", "all/manifest.json"), manifest.to_string()).await;
    let job = merchant.imports(3).await.pop().map(|job| crate::merchant::id_of(&job)).expect("an import");
    let waiting = merchant.wait_for_status(&job, "awaiting_approval").await;
    assert_eq!(counts(&waiting, ["records", "internal_duplicates", "clean"]), [20, 10, 10]);
    assert_eq!(waiting["files"]["total"], json!(2));
    let sample = rows(
        &merchant.db,
        &format!("SELECT code FROM onceload.codes_check_temp('{job}') ORDER BY row_number LIMIT 1"),
    )
    .await;
    assert_eq!(sample, [["S0"]], "the mapping takes the codes from the serials");
    assert_eq!(merchant.cancel(&job).await.status, 202);
    assert_eq!(merchant.count_codes().await, 0);
    merchant.wait_for_rest().await;
}
