//! Exports of rejects: one file with the records of all files, to be corrected and imported anew.

use import_jobs::maintain::Asked;
use onceload_tests::files::gzip;
use onceload_tests::reports::{parse_records, read_gzip};
use onceload_tests::{Maintenance, State, World};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::task::ExportKind;

const REJECTS: Maintenance = Maintenance::Export(ExportKind::Rejects);
const OWN: &str = "onceload_file,onceload_record,onceload_line,onceload_reason,onceload_detail,onceload_raw";

fn key(world: &World, job: JobId) -> String {
    format!("reports/{}/{job}/rejects.csv.gz", world.merchant)
}

/// Exports the rejects and returns the text.
async fn export(world: &World, job: JobId) -> (Value, String) {
    world.abandon_tasks().await;
    let result = world.run_task(job, REJECTS).await;
    let key = key(world, job);
    assert_eq!(result["files"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&result["files"][0]["key"], &result["files"][0]["name"]),
        (&json!(key), &json!("rejects.csv.gz"))
    );
    assert_eq!(result["files"][0]["rows"], result["rows"]);
    (result, String::from_utf8(read_gzip(world, &key)).expect("UTF-8"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rejects_of_all_files_are_one_file() {
    let world = World::new().await;
    let mut odd = b"Code;Points;\"My; own\"\r\nOK;1;\r\nA;=x;\"two\r\nlines \"\"\"\r\n".to_vec();
    odd.extend_from_slice(b"B;\xff;\r\n\r\n;3;empty\r\nC;1;2;3\r\n\"D\"x;1\r\nE;x\r\nF\r;1\r\n");
    let first = world.upload("b/odd ones.csv", odd);
    let second = world.upload("b/z.csv.gz", gzip(b"price,code,points\n1.234,C,1\n1,D,\n"));
    let third = world.upload("b/clean.csv", "code,colour\nE,red\n");
    let mut run = world.import_objects(&[&first, &second, &third]);
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["rejected"], 8);

    let (result, text) = export(&world, run.job).await;
    assert_eq!(result["rows"], 8);
    assert!(text.starts_with(&format!("code,colour,Points,My; own,price,{OWN}\n")), "{text}");
    let records = parse_records(text.clone().into_bytes()).await;
    let seen: Vec<String> = records[1..].iter().map(|record| record.join("|")).collect();
    let expected = [
        format!("A||=x|two\r\nlines \"||{first}|2|3|invalid_points|points is `=x`|"),
        format!("|||||{first}|3|5|invalid_utf8|column 2 is not UTF-8: `\u{fffd}`|B;\\xff;"),
        format!("||3|empty||{first}|5|7|empty_code|code is ``|"),
        format!("|||||{first}|6|8|extra_fields|4 fields, the header has 3|C;1;2;3"),
    ];
    assert_eq!(seen[..4], expected);
    let raw = |index: usize| (records[index][8].as_str(), records[index][10].as_str());
    assert_eq!(raw(5), ("malformed_quotes", "\"D\"x;1"));
    assert_eq!(seen[5], format!("E||x|||{first}|8|10|invalid_points|points is `x`|"), "a short record");
    assert_eq!(raw(7), ("control_character", "F\r;1"));
    assert_eq!(seen[7], format!("C||1||1.234|{second}|1|2|invalid_price|price is `1.234`|"));
    assert_eq!(text.lines().filter(|line| line.contains(&second)).count(), 1);

    // Imported as it is, every record is rejected again, and the export's own columns are nothing to remark on.
    let again = world.upload("again.csv.gz", world.s3.get(&key(&world, run.job)).unwrap());
    let mut run = world.import_objects(&[&again]);
    let error = run.until(State::MarkDuplicates).await.error();
    assert!(error.message.starts_with("nothing_staged: 8 of 8 records were rejected"), "{error}");
    let reasons = "SELECT reason FROM onceload.import_rejects WHERE job_id";
    assert_eq!(
        world.db.column(&format!("{reasons} = '{}' ORDER BY record_number", run.job)).await,
        [
            "invalid_points",
            "empty_code",
            "empty_code",
            "empty_code",
            "empty_code",
            "invalid_points",
            "empty_code",
            "invalid_price"
        ]
    );
    let ignored = world
        .db
        .value(&format!(
            "SELECT layout ->> 'unknown' FROM onceload.import_files WHERE job_id = '{}'",
            run.job
        ))
        .await;
    assert_eq!(ignored, "[\"colour\", \"My; own\"]");
    let warnings = world.show(run.job).await["warnings"].clone();
    let ignored =
        warnings.as_array().unwrap().iter().find(|warning| warning["reason"] == "ignored_columns").unwrap();
    assert_eq!((&ignored["count"], &ignored["first"]["sample"]), (&json!(2), &json!("colour, My; own")));

    // And its rejects have the same columns again, once.
    let (_, twice) = export(&world, run.job).await;
    assert_eq!(twice.lines().next(), text.lines().next());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reject_that_is_corrected_in_the_export_is_imported() {
    let world = World::new().await;
    let first = world.upload("a.csv", "code;points;serial\nA1;1,5;\"s;1\"\nA2;2;s2\n");
    let second = world.upload("b.csv", "Batch ID\tCODE\nb1\tB\u{7}1\nb2\tB2\n");
    let mut run = world.import_objects(&[&first, &second]);
    run.finish(&world.actor).await.expect(State::Done);
    let (_, text) = export(&world, run.job).await;
    assert!(text.starts_with(&format!("code,points,serial,Batch ID,{OWN}\n")), "{text}");
    let corrected = text.replace("\"1,5\"", "15").replace('\u{7}', "");
    let key = world.upload("corrected.csv", corrected);
    let mut again = world.import_objects(&[&key]);
    again.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.read_job(again.job).await["rejected"], 0);
    let codes = "SELECT concat_ws('|', code, points, serial, batch_code) FROM onceload.codes ORDER BY code";
    assert_eq!(world.db.column(codes).await, ["A1|15|s;1", "A2|2|s2", "B1|b1", "B2|b2"]);
}

/// Only the beginning of a long record is kept: it stands there as it is, cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_kept_whole_is_not_split() {
    let world = World::new().await;
    let text = format!(
        "code,sku,serial\nOK,1\nA,{}\nB,{}\nC,1,\"{}\"\n",
        "x".repeat(8189),
        "y".repeat(8190),
        "\n".repeat(9000)
    );
    let mut run = world.import_file("a.csv", text);
    run.finish(&world.actor).await.expect(State::Done);
    let (result, text) = export(&world, run.job).await;
    assert_eq!(result["rows"], 3);
    let records = parse_records(text.into_bytes()).await;
    let seen: Vec<(&str, usize, usize)> =
        records[1..].iter().map(|r| (r[0].as_str(), r[1].len(), r[8].len())).collect();
    assert_eq!(seen, [("A", 8189, 0), ("", 0, 8192), ("", 0, 8192)]);
    assert!(records[3][8].starts_with("C,1,\"\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_rejects_is_a_header() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    let (result, text) = export(&world, run.job).await;
    assert_eq!((&result["rows"], text), (&json!(0), format!("code,{OWN}\n")));
}

/// More rejects than are split at a time, and as many as there are.
#[tokio::test(flavor = "multi_thread")]
async fn every_reject_is_exported_in_order() {
    let world = World::new().await;
    let text = |name: &str| {
        let rows: String =
            (0..4000).map(|i| format!("{name}{i},\"{}\n\",x\n", "é".repeat(i % 100))).collect();
        format!("code,serial,points\n{rows}")
    };
    let first = world.upload("a.csv", text("A"));
    let second = world.upload("b.csv", text("B").replace(",", ";"));
    let third = world.upload("c.csv", "code\nC\n");
    let mut run = world.import_objects(&[&first, &second, &third]);
    run.finish(&world.actor).await.expect(State::Done);
    let (result, text) = export(&world, run.job).await;
    assert_eq!(result["rows"], 8000);
    let records = parse_records(text.into_bytes()).await;
    let expected = (0..4000).map(|i| format!("A{i}")).chain((0..4000).map(|i| format!("B{i}")));
    for (index, code) in expected.enumerate() {
        let record = &records[index + 1];
        let serial = format!("{}\n", "é".repeat(index % 4000 % 100));
        assert_eq!((&record[0], &record[1], record[8].as_str()), (&code, &serial, ""), "{index}");
    }
}

/// The import failed before its duplicates were found. What was mended has no rejects until it is loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_while_loading_has_its_rejects() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code,points\nA1,x\nA2,1\n");
    let b = world.upload("b.csv", "code,points\nB1,x\n");
    let c = world.upload("c.csv", "code,sku\nC1,x\nC2,\"\n");
    let d = world.upload("d.csv", "code,sku\nD,\"\n");
    let mut run = world.import_objects(&[&a, &b, &c, &d]);
    run.until(State::Done).await.error();
    let (result, text) = export(&world, run.job).await;
    assert_eq!(result["rows"], 2, "{text}");
    assert!(
        text.contains(&format!("\nA1,x,,{a},1,2,")) && text.contains(&format!("\nB1,x,,{b},1,2,")),
        "{text}"
    );

    run.mend(&world.actor, 2, Some(&world.correct("b.csv", "code\nB1\n"))).await;
    run.mend(&world.actor, 3, None).await;
    assert_eq!(world.read_status(run.job).await, "failed");
    let (result, text) = export(&world, run.job).await;
    assert_eq!(result["rows"], 1, "{text}");
    // They go with staging.
    world.request_maintenance(run.job, Maintenance::Clear).await;
    let asked = world.request_maintenance(run.job, REJECTS).await;
    assert_eq!(asked, Asked::StagingCleared);
}
