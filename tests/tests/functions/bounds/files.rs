//! What one file may leave behind: rejects, text, and a place in the answer of a check.

use import_jobs::check::check_source;
use onceload_tests::files::gzip;
use onceload_tests::fixture::subject;
use onceload_tests::http::{receive, request};
use onceload_tests::reports::{parse_records, read_gzip};
use onceload_tests::{Maintenance, State, World};
use serde_json::{Value, json};
use shared::csv::decompress::RATIO_FROM;
use shared::db::rejects::{MAX_FILE_BYTES, MAX_JOB_BYTES, RAW_BYTES};
use shared::domain::source::{MAX_FILES, StartRequest};
use shared::domain::task::ExportKind;
use std::time::Duration;

/// Checks with as much time as it takes.
async fn check(world: &World, keys: &[String]) -> Value {
    let request: StartRequest =
        serde_json::from_value(json!({ "merchant_id": world.merchant, "files": keys })).expect("a request");
    check_source(&world.app, request.check().expect("a source"), Duration::from_secs(600))
        .await
        .expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_of_huge_rejects_is_counted_whole_and_kept_in_part() {
    let world = World::new().await;
    let records = usize::try_from(MAX_FILE_BYTES).unwrap() / RAW_BYTES + 500;
    let text = format!("code\n{}GOOD\n", format!("{}\n", "x".repeat(RAW_BYTES)).repeat(records));
    let packed = gzip(text.as_bytes());
    assert!(packed.len() < 1_000_000, "{} bytes", packed.len());
    let mut run = world.import_file("rejects.csv.gz", packed);
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.show(run.job).await;
    assert_eq!(job["counts"]["rejected"], json!(records));
    assert_eq!(job["rejected_by_reason"], json!({ "too_long": records }));
    assert_eq!(job["verification"]["verified"], json!(true), "{job:#}");
    let kept = world.db.int("SELECT sum(octet_length(raw)) FROM onceload.import_rejects").await;
    assert!((MAX_FILE_BYTES / 2..=MAX_FILE_BYTES).contains(&kept), "{kept} bytes are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_beyond_the_share_of_an_import_are_counted_and_the_export_says_how_many() {
    let world = World::new().await;
    let first = world.upload("b/1.csv", "code,points\nA,x\nB,1\n");
    let second = world.upload("b/2.csv", "code,points\nC,1\nD,y\nE,z\nF,z\n");
    let mut run = world.import_objects(&[&first, &second]);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.load(1).await.expect("the first file");
    // Four files may load at a time, so that the second one has room for one row.
    let almost = MAX_JOB_BYTES - 4 * 300;
    world
        .db
        .exec(&format!("UPDATE onceload.import_files SET reject_bytes = {almost} WHERE file_no = 1"))
        .await;
    run.load(2).await.expect("the second file");
    run.load(2).await.expect("the second file again");
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.show(run.job).await;
    assert_eq!((&job["counts"]["rejected"], &job["counts"]["records"]), (&json!(4), &json!(6)));
    assert_eq!(job["rejected_by_reason"], json!({ "invalid_points": 4 }));
    assert_eq!(job["verification"]["verified"], json!(true), "{job:#}");
    let kept = "SELECT concat_ws(' ', file_no, record_number) FROM onceload.import_rejects ORDER BY 1";
    assert_eq!(world.db.column(kept).await, ["1 1", "2 2"], "of the second file the first");

    world.abandon_tasks().await;
    world.run_task(run.job, Maintenance::Export(ExportKind::Rejects)).await;
    let key = format!("reports/{}/{}/rejects.csv.gz", world.merchant, run.job);
    let records = parse_records(read_gzip(&world, &key)).await;
    let last = records.last().expect("a record").join("|");
    let detail = "2 more records of the file were rejected; too many to be kept";
    assert_eq!((records.len(), last), (4, format!("||{second}|||not_kept|{detail}|")));
    let again = world.upload("again.csv.gz", world.s3.get(&key).unwrap());
    let mut run = world.import_objects(&[&again]);
    let error = run.until(State::MarkDuplicates).await.error();
    assert!(error.message.starts_with("nothing_staged: 3 of 3 records were rejected"), "{error}");
}

/// What an import and a check say of a file that must be refused.
async fn assert_refused(world: &World, name: &str, body: Vec<u8>, reason: &str) {
    let key = world.upload(name, body);
    let checked = check(world, std::slice::from_ref(&key)).await;
    assert_eq!(checked["files"][0]["fault"]["reason"], json!(reason), "{checked:?}");
    let mut run = world.import_objects(&[&key]);
    let error = run.until(State::MarkDuplicates).await.error();
    assert!(error.message.contains(&format!("{key}: {reason} (")), "{error}");
    assert_eq!(world.count_codes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_file_with_too_much_text_is_refused() {
    let mut world = World::new().await;
    let text = format!("code\n{}", "A\n".repeat(400_000));
    world.app.config.max_decompressed_bytes = 700_000;
    assert_refused(&world, "a.csv.gz", gzip(text.as_bytes()), "decompressed_too_large").await;
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    assert_refused(&world, "a.csv.zst", packed, "decompressed_too_large").await;
    world.app.config.max_decompressed_bytes = 1_000_000;
    world.import_to_end("b.csv.gz", gzip(text.as_bytes())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_refused_after_its_first_hundred_megabytes() {
    let world = World::new().await;
    let text = format!("code\nA\n{}", "\n".repeat(usize::try_from(RATIO_FROM).unwrap() + 2_000_000));
    let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
    assert!(packed.len() < 50_000, "{} bytes", packed.len());
    assert_refused(&world, "bomb.csv", packed, "compression_bomb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_behind_endless_blank_lines_is_refused() {
    let world = World::new().await;
    let text = format!("{}code\nA\n", "\n".repeat(17 * 1024 * 1024));
    assert_refused(&world, "late.csv.gz", gzip(text.as_bytes()), "header_too_long").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_the_widest_files_fits_into_an_answer() {
    let world = World::new().await;
    let header: Vec<String> = (0..990).map(|column| format!("column {column} {}", "w".repeat(50))).collect();
    let text = format!("code,{}\nA\n", header.join(","));
    let keys: Vec<String> =
        (0..300).map(|file| world.upload(&format!("w/{file:03}.csv"), text.clone())).collect();
    let answer = check(&world, &keys).await;
    assert!(answer.to_string().len() < 5_500_000, "{}", answer.to_string().len());
    let files = answer["files"].as_array().expect("files");
    assert_eq!((files.len(), &answer["files_left_out"]), (300, &json!(0)));
    assert_eq!(files[0]["columns"]["total"], json!(991));
    assert_eq!(
        (&files[0]["samples_left_out"], &files[299]["samples_left_out"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(answer["totals"]["records"], json!({ "count": 300, "exact": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_the_longest_keys_counts_what_does_not_fit() {
    let world = World::new().await;
    let start = format!("uploads/{}/", world.merchant);
    let keys: Vec<String> = (0..MAX_FILES)
        .map(|file| format!("{start}{file:04}{}.csv", "\"".repeat(1016 - start.len())))
        .collect();
    let answer = check(&world, &keys).await;
    assert!(answer.to_string().len() < 5_500_000, "{}", answer.to_string().len());
    let shown = answer["files"].as_array().map_or(0, Vec::len);
    assert!(shown > 1000, "{shown}");
    assert_eq!(answer["files_left_out"], json!(MAX_FILES - shown));
    assert_eq!(answer["totals"]["faults"], json!(MAX_FILES));
}

/// What is refused is said within bounds, whatever it repeats.
#[tokio::test(flavor = "multi_thread")]
async fn a_problem_repeats_the_beginning_of_what_was_sent() {
    let world = World::new().await;
    let long = "z".repeat(2_000_000);
    let (m, key) = (world.merchant, world.upload("a.csv", "code\nA\n"));
    for body in [
        json!({ "merchant_id": m, "files": [key], &long: 1 }),
        json!({ "merchant_id": m, "files": [key], "mapping": { &long: "x" } }),
        json!({ "merchant_id": m, "files": [&long] }),
        json!({ "merchant_id": m, "files": &long }),
        json!({ "merchant_id": m, "prefix": format!("uploads/{long}") }),
    ] {
        let request = request("POST", "/imports/check", Some(&subject(&world.actor)), &body.to_string());
        let answer = receive(import_jobs::handle(world.app.clone(), request).await);
        assert_eq!(answer.problem().0, 422);
        assert!(answer.body.to_string().len() < 10_000, "{}", answer.body.to_string().len());
    }
    let many: Value =
        (0..5_000).map(|n| (format!("no-field-{n}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let request = request("POST", "/communities", Some(&subject(&world.actor)), &many.to_string());
    let answer = receive(create_community::handle(world.app.clone(), request).await);
    assert_eq!((answer.problem().0, answer.body["errors"].as_array().map(Vec::len)), (422, Some(100)));
}
