//! Rejects: what was not staged comes back as it was, to be corrected and uploaded again.

use crate::exports::{records, unzipped};
use onceload_tests::{Ask, Bench, State};
use serde_json::json;
use shared::domain::task::ExportKind;

const REJECTS: Ask = Ask::Export(ExportKind::Rejects);

#[tokio::test(flavor = "multi_thread")]
async fn the_records_as_they_were_and_why() {
    let bench = Bench::new().await;
    let mut odd = b"Code;Points;\"My; own\"\r\nOK;1;\r\nA;=x;\"two\r\nlines\"\r\n".to_vec();
    odd.extend_from_slice(b"B;\xff;\r\n\r\n;3;empty\r\n");
    let first = bench.stage("b/odd ones.csv", odd);
    let zipped = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"code,price\nC,1.234\nD,1\n").unwrap();
        encoder.finish().unwrap()
    };
    let second = bench.stage("b/z.csv.gz", zipped);
    let third = bench.stage("b/clean.csv", "code\nE\n");
    let mut run = bench.request(&[&first, &second, &third]);
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.job(run.job).await["rejected"], 4);
    bench.forget_tasks().await;

    let result = bench.done(run.job, REJECTS).await;
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
        "files without a reject have none"
    );
    let at = |name: &str| format!("reports/{}/{}/rejects/{name}", bench.merchant, run.job);
    for (file, (name, _)) in files.iter().zip(&names) {
        assert_eq!(file["key"], json!(at(name)));
    }
    let mut expected = b"Code;Points;\"My; own\"\nA;=x;\"two\r\nlines\"\n".to_vec();
    expected.extend_from_slice(b"B;\xff;\n;3;empty\n");
    let got = unzipped(&bench, &at("0002-odd ones.csv.gz"));
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected));
    assert_eq!(got, expected, "byte for byte");
    let reasons = records(unzipped(&bench, &at("0002-odd ones.reasons.csv.gz"))).await;
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

    // Uploaded again as it is, it is read as before: the same reasons.
    let again = bench.stage("again.csv", bench.s3.get(&at("0002-odd ones.csv.gz")).unwrap());
    let mut run = bench.request(&[&again]);
    run.until(State::Done).await.expect(State::Done);
    let again = bench
        .db
        .column(&format!(
            "SELECT reason FROM import_rejects WHERE job_id = '{}' ORDER BY record_number",
            run.job
        ))
        .await;
    assert_eq!(again, ["invalid_points", "invalid_utf8", "empty_code"]);
}

/// Of a long record only the beginning is kept: it is named, but not in the file that is to be uploaded again.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_whole_is_left_out() {
    let bench = Bench::new().await;
    let text = format!("code,sku\nA,{}\nB,{}\nC,1,extra\n", "x".repeat(8189), "y".repeat(8190));
    let mut run = bench.file("a.csv", text);
    run.until(State::Done).await.expect(State::Done);
    bench.forget_tasks().await;
    let result = bench.done(run.job, REJECTS).await;
    assert_eq!(result["rows"], 3);
    let at = |name: &str| format!("reports/{}/{}/rejects/{name}", bench.merchant, run.job);
    let whole = String::from_utf8(unzipped(&bench, &at("0001-a.csv.gz"))).unwrap();
    let starts: Vec<&str> = whole.lines().map(|line| &line[..2]).collect();
    assert_eq!(starts, ["co", "A,", "C,"]);
    let reasons = records(unzipped(&bench, &at("0001-a.reasons.csv.gz"))).await;
    assert_eq!([&*reasons[1][4], &*reasons[2][4], &*reasons[3][4]], ["true", "false", "true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_set_is_a_file_with_a_header() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.finish(&bench.actor).await.expect(State::Done);
    let result = bench.done(run.job, REJECTS).await;
    assert_eq!((&result["rows"], result["files"].as_array().unwrap().len()), (&json!(0), 1));
    let key = result["files"][0]["key"].as_str().unwrap();
    assert_eq!(unzipped(&bench, key), b"record_number,line_number,reason,detail,complete\n");
}
