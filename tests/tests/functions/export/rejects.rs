//! Exports of rejects: records that were not staged come back unchanged, to be corrected and uploaded again.

use onceload_tests::files::gzip;
use onceload_tests::reports::{parse_records, read_gzip};
use onceload_tests::{Maintenance, State, World};
use serde_json::json;
use shared::domain::task::ExportKind;

const REJECTS: Maintenance = Maintenance::Export(ExportKind::Rejects);

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_exported_as_uploaded_with_their_reasons() {
    let world = World::new().await;
    let mut odd = b"Code;Points;\"My; own\"\r\nOK;1;\r\nA;=x;\"two\r\nlines\"\r\n".to_vec();
    odd.extend_from_slice(b"B;\xff;\r\n\r\n;3;empty\r\n");
    let first = world.upload("b/odd ones.csv", odd);
    let second = world.upload("b/z.csv.gz", gzip(b"code,price\nC,1.234\nD,1\n"));
    let third = world.upload("b/clean.csv", "code\nE\n");
    let mut run = world.import_objects(&[&first, &second, &third]);
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["rejected"], 4);
    world.abandon_tasks().await;

    let result = world.run_task(run.job, REJECTS).await;
    assert_eq!(result["rows"], 4);
    let files = result["files"].as_array().unwrap();
    let names: Vec<_> =
        files.iter().map(|file| (file["name"].as_str().unwrap(), file["rows"].as_i64().unwrap())).collect();
    assert_eq!(
        names,
        [
            ("0002-odd ones.csv.gz", 3),
            ("0002-odd ones.reasons.csv.gz", 3),
            ("0003-z.csv.gz", 1),
            ("0003-z.reasons.csv.gz", 1),
        ],
        "files without rejects are not exported"
    );
    let at = |name: &str| format!("reports/{}/{}/rejects/{name}", world.merchant, run.job);
    for (file, (name, _)) in files.iter().zip(&names) {
        assert_eq!(file["key"], json!(at(name)));
    }
    let mut expected = b"Code;Points;\"My; own\"\nA;=x;\"two\r\nlines\"\n".to_vec();
    expected.extend_from_slice(b"B;\xff;\n;3;empty\n");
    let got = read_gzip(&world, &at("0002-odd ones.csv.gz"));
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected));
    assert_eq!(got, expected, "byte for byte");
    let reasons = parse_records(read_gzip(&world, &at("0002-odd ones.reasons.csv.gz"))).await;
    assert_eq!(reasons[0], ["record_number", "line_number", "reason", "detail", "complete"]);
    let seen: Vec<[&str; 4]> = reasons[1..].iter().map(|r| [&*r[0], &*r[1], &*r[2], &*r[4]]).collect();
    assert_eq!(
        seen,
        [
            ["2", "3", "invalid_points", "true"],
            ["3", "5", "invalid_utf8", "true"],
            ["5", "7", "empty_code", "true"],
        ]
    );

    // Uploaded again unchanged, the records are rejected for the same reasons.
    let again = world.upload("again.csv", world.s3.get(&at("0002-odd ones.csv.gz")).unwrap());
    let mut run = world.import_objects(&[&again]);
    let error = run.until(State::MarkDuplicates).await.error();
    assert!(error.message.starts_with("nothing_staged: 3 of 3 records were rejected"), "{error}");
    let again = world
        .db
        .column(&format!(
            "SELECT reason FROM onceload.import_rejects WHERE job_id = '{}' ORDER BY record_number",
            run.job
        ))
        .await;
    assert_eq!(again, ["invalid_points", "invalid_utf8", "empty_code"]);
}

/// Only the beginning of a long record is kept, so the list of reasons has it and the file for another upload hasn't.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_record_is_listed_but_not_exported_for_upload() {
    let world = World::new().await;
    let text = format!("code,sku\nOK,1\nA,{}\nB,{}\nC,1,extra\n", "x".repeat(8189), "y".repeat(8190));
    let mut run = world.import_file("a.csv", text);
    run.finish(&world.actor).await.expect(State::Done);
    world.abandon_tasks().await;
    let result = world.run_task(run.job, REJECTS).await;
    assert_eq!(result["rows"], 3);
    let at = |name: &str| format!("reports/{}/{}/rejects/{name}", world.merchant, run.job);
    let whole = String::from_utf8(read_gzip(&world, &at("0001-a.csv.gz"))).unwrap();
    let starts: Vec<&str> = whole.lines().map(|line| &line[..2]).collect();
    assert_eq!(starts, ["co", "A,", "C,"]);
    let reasons = parse_records(read_gzip(&world, &at("0001-a.reasons.csv.gz"))).await;
    assert_eq!([&*reasons[1][4], &*reasons[2][4], &*reasons[3][4]], ["true", "false", "true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_rejects_is_a_header() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    let result = world.run_task(run.job, REJECTS).await;
    assert_eq!((&result["rows"], result["files"].as_array().unwrap().len()), (&json!(0), 1));
    let key = result["files"][0]["key"].as_str().unwrap();
    assert_eq!(read_gzip(&world, key), b"record_number,line_number,reason,detail,complete\n");
}
