//! Rejected files: the error names the file, the line if there is one, and what to do. Nothing of the file is staged,
//! production is untouched, and the other files stay loaded.

use crate::process::Process;
use import_jobs::decide::Decision;
use onceload_tests::files::{gzip, noise};
use onceload_tests::{Body, Run, State, World};
use serde_json::{Value, json};
use shared::domain::step::StepErrorKind;
use std::io::Write;

/// Imports one bad file and asserts what every such import has in common.
async fn assert_rejected(
    world: &World,
    name: &str,
    body: impl Into<Body>,
    reason: &str,
    line: Option<u64>,
) -> Value {
    let before = world.count_codes().await;
    let key = world.upload(name, body);
    let mut run = world.import_objects(&[&key]);
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected, "{name}: {error}");
    let id = world
        .db
        .value(&format!(
            "SELECT id FROM onceload.codes_import_jobs WHERE execution_arn = '{}'",
            run.execution_arn
        ))
        .await;
    run.job = shared::domain::ids::JobId(id.parse().unwrap());
    let job = world.read_job(run.job).await;
    assert_eq!(job["status"], "failed", "{name}");
    assert_eq!(job["leased"], false, "{name}");
    let message = job["error_message"].as_str().unwrap();
    assert!(message.contains(&key) && message.contains(reason), "{name}: {message}");
    let advice = message.split("; ").nth(1).unwrap_or_default();
    assert!(advice.len() > 10, "{name} does not say what to do: {message}");
    if let Some(line) = line {
        assert!(message.contains(&format!("line {line}")), "{name}: {message}");
    }
    let errors = job["validation_errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{name}: {errors:?}");
    assert_eq!(errors[0]["file"], json!(key), "{name}");
    assert_eq!(errors[0]["reason"], json!(reason), "{name}");
    if line.is_some() {
        assert_eq!(errors[0]["line"], json!(line), "{name}");
    }
    assert_eq!(world.count_codes().await, before, "{name}");
    assert_eq!(world.count_staged(run.job).await, 0, "{name}");
    assert_eq!(
        world.db.int("SELECT count(*) FROM onceload.import_rejects").await,
        0,
        "{name}: rolled back with the file"
    );
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_rejects_files_that_cannot_be_read() {
    let world = World::new().await;
    let csv = b"code,points\nA,1\nB,2\n";
    let utf16 = |big: bool, bom: bool| -> Vec<u8> {
        let mark = if bom { "\u{feff}" } else { "" };
        let units: Vec<u16> = format!("{mark}code,points\nA,1\n").encode_utf16().collect();
        units.iter().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let mut many_columns = String::from("code");
    (0..100_000).for_each(|i| many_columns.push_str(&format!(",c{i}")));
    many_columns.push_str("\nA\n");
    let mut some_columns = String::from("code");
    (0..1_000).for_each(|i| some_columns.push_str(&format!(",c{i}")));
    some_columns.push_str("\nA\n");
    let mut corrupt = gzip(csv);
    corrupt[12] ^= 0xff;
    let whole = gzip(noise(100).as_bytes());
    // Without its size in the frame, the window stands there as it was asked for.
    let mut long = zstd::Encoder::new(Vec::new(), 1).unwrap();
    long.window_log(28).unwrap();
    std::io::Write::write_all(&mut long, csv).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str, Option<u64>)> = vec![
        ("empty.csv", vec![], "empty_file", None),
        ("blank.csv", b"\n\r\n  \n".to_vec(), "empty_file", None),
        ("bom-only.csv", b"\xef\xbb\xbf".to_vec(), "empty_file", None),
        ("empty.csv.gz", gzip(b""), "empty_file", None),
        ("header-only.csv", b"code,points\n".to_vec(), "header_only", None),
        ("header-only-no-end.csv", b"code,points".to_vec(), "header_only", None),
        ("header-only.csv.gz", gzip(b"code,points\r\n\r\n"), "header_only", None),
        ("no-code.csv", b"serial,points\n1,2\n".to_vec(), "no_code_column", Some(1)),
        ("no-header.csv", b"ABC,1\nDEF,2\n".to_vec(), "no_code_column", Some(1)),
        ("twice.csv", b"code,Batch ID,batch_code\nA,1,2\n".to_vec(), "duplicate_column", Some(1)),
        ("two-codes.csv", b"Code,CODE\nA,B\n".to_vec(), "duplicate_column", Some(1)),
        ("archive.csv", b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00".to_vec(), "not_csv", None),
        ("image.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR".to_vec(), "not_csv", None),
        ("latin1.csv", b"code,na\xefve\nA,1\n".to_vec(), "not_csv", Some(1)),
        ("cut.csv.gz", whole[..whole.len() - 20].to_vec(), "truncated_gzip", None),
        ("cut-header.csv.gz", gzip(csv)[..8].to_vec(), "truncated_gzip", None),
        ("corrupt.csv.gz", corrupt, "corrupt_compression", None),
        ("cut.csv.zst", zstd::encode_all(&csv[..], 1).unwrap()[..12].to_vec(), "truncated_gzip", None),
        ("long.csv.zst", long.finish().unwrap(), "window_too_large", None),
        ("zipped-twice.csv.gz", gzip(&gzip(csv)), "not_csv", None),
        ("utf16le-bom.csv", utf16(false, true), "utf16", None),
        ("utf16be-bom.csv", utf16(true, true), "utf16", None),
        ("utf16le.csv", utf16(false, false), "utf16", None),
        ("utf16be.csv", utf16(true, false), "utf16", None),
        ("utf16.csv.gz", gzip(&utf16(false, true)), "utf16", None),
        ("open-quote-header.csv", b"code,\"points\nA,1\n".to_vec(), "unterminated_quote", Some(1)),
        ("columns.csv", many_columns.into_bytes(), "header_too_long", Some(1)),
        ("columns-1001.csv", some_columns.into_bytes(), "header_too_long", Some(1)),
        ("line.csv", vec![b'x'; 200_000], "header_too_long", Some(1)),
    ];
    for (name, body, reason, line) in cases {
        assert_rejected(&world, name, body, reason, line).await;
    }
    // Nothing was staged, so no staging was created.
    assert_eq!(
        world
            .db
            .int("SELECT count(*) FROM onceload.codes_import_jobs WHERE staging_created_at IS NOT NULL")
            .await,
        0
    );
    // A mapping may name a column that the file lacks.
    let key = world.upload("mapped.csv", "Voucher\nA\n");
    let mut run = Run::new(
        &world.app,
        json!({ "merchant_id": world.merchant, "files": [key], "mapping": { "code": "Coupon" } }),
    );
    let error = run.until(State::InsertCodes).await.error();
    assert!(error.message.contains("missing_column") && error.message.contains("Coupon"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_rejects_files_that_break_off_or_break_the_rules() {
    let world = World::new().await;
    // Longer than what opening inspects: 128 KiB of the object, 512 KiB of text.
    let large = gzip(noise(60_000).as_bytes());
    let cut = large[..large.len() - 1000].to_vec();
    assert!(cut.len() > 700_000);
    let job = assert_rejected(&world, "cut-late.csv.gz", cut, "truncated_gzip", None).await;
    assert!(
        job["validation_errors"][0]["line"].as_u64().unwrap() > 40_000,
        "how far it could be read: {job}"
    );
    let mut corrupt = large.clone();
    let at = corrupt.len() - 50_000;
    corrupt[at..at + 200].fill(0xa5);
    assert_rejected(&world, "corrupt-late.csv.gz", corrupt, "corrupt_compression", None).await;

    let mut open_quote = String::from("code,sku\n");
    (0..30).for_each(|i| open_quote.push_str(&format!("C{i},\"a\nb\"\n")));
    open_quote.push_str("BAD,\"never closed\nX,1\nY,2\n");
    // The quote follows a header and thirty records of two lines each.
    assert_rejected(&world, "open-quote.csv", open_quote, "unterminated_quote", Some(62)).await;

    let mut long = String::from("code,sku\nA,1\nB,");
    long.push_str(&"x".repeat(1_100_000));
    long.push_str("\nC,1\n");
    assert_rejected(&world, "long-record.csv", long, "record_too_long", Some(3)).await;

    let mut rejects = String::from("code,points\n");
    (0..12).for_each(|i| rejects.push_str(&format!("C{i},{}\n", if i == 0 { "1" } else { "1e5" })));
    let key = world.upload("rejects.csv", rejects);
    let options = |max: u32| json!({ "merchant_id": world.merchant, "files": [key], "options": { "max_rejects": max } });
    let mut run = Run::new(&world.app, options(10));
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected);
    let job = world.read_job(run.job).await;
    assert_eq!(job["validation_errors"][0]["reason"], "too_many_rejects");
    assert_eq!(job["validation_errors"][0]["line"], 13);
    assert!(job["error_message"].as_str().unwrap().contains("max_rejects"), "{job}");
    let mut run = Run::new(&world.app, options(11));
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.read_job(run.job).await["rejected"], 11);
}

/// The loader stops after a megabyte of a record without an end, plain or compressed.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_two_gibibytes_is_rejected_in_little_memory() {
    const WHOLE: u64 = 2 * 1024 * 1024 * 1024;
    let world = World::new().await;
    let head = "code,sku\nA,1\nB,";
    let quoted = "code,sku\nA,1\nB,\"";
    // The compressed object is small, and the loader must not decompress much more than a megabyte of it.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(head.as_bytes()).unwrap();
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..256 {
        encoder.write_all(&piece).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let endless = Body::Padded(head.into(), b'x', WHOLE);
    assert_rejected(
        &world,
        "header.csv",
        Body::Padded("code".into(), b'x', WHOLE),
        "header_too_long",
        Some(1),
    )
    .await;
    assert_rejected(&world, "line.csv", endless.clone(), "record_too_long", Some(3)).await;
    assert_rejected(
        &world,
        "quote.csv",
        Body::Padded(quoted.into(), b'x', WHOLE),
        "unterminated_quote",
        Some(3),
    )
    .await;
    assert_rejected(&world, "bomb.csv.gz", bomb.clone(), "record_too_long", Some(3)).await;
    // One read of the head, three of the sample, and the load, which stops early.
    assert_eq!(world.s3.reads(&world.key_under_stage("line.csv")), 5);

    // A process of its own measures the loader's memory.
    for (name, body) in [("line2.csv", endless), ("bomb2.csv.gz", bomb.into())] {
        let mut run = world.import_file(name, body);
        run.until(State::LoadFiles).await.expect(State::LoadFiles);
        let input = json!({ "job_id": run.job, "attempt": run.attempt, "file_no": 1 });
        let peak = Process::start(&world, "load-staging", &input).peak_memory();
        assert!(peak < 256 * 1024 * 1024, "{name}: the loader took {} MB", peak / 1024 / 1024);
        run.at = State::PlanChunks;
        assert_eq!(run.until(State::InsertCodes).await.error().kind, StepErrorKind::FileRejected);
    }
}

/// Of three files one is bad. The two others stay loaded, and the retry loads only the corrected one.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_loads_only_the_files_that_are_not_loaded() {
    let world = World::new().await;
    let a = world.upload("a.csv", "code\nA1\nA2\n");
    let b = world.upload("b.csv", "code,sku\nB1,1\nB2,\"open\n");
    let c = world.upload("c.csv", "code\nC1\nA1\n");
    let mut run = world.import_objects(&[&c, &b, &a]);
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected);
    assert!(error.message.contains("1 of 3 files rejected") && error.message.contains(&b), "{error}");
    let files = world.db.column("SELECT status FROM onceload.import_files ORDER BY file_no").await;
    assert_eq!(files, ["loaded", "failed", "loaded"]);
    assert_eq!(world.count_staged(run.job).await, 4, "the other files stay staged");
    assert_eq!(world.read_status(run.job).await, "failed");

    // A retry without a correction fails in the same way.
    assert!(matches!(run.retry(&world.actor).await, Decision::Taken { .. }));
    assert_eq!(world.read_outbox(run.job).await, ["state_changed", "start_execution"]);
    let mut second = Run::of_job(&world.app, run.job, 2);
    second.until(State::LoadFiles).await.expect(State::LoadFiles);
    assert_eq!(second.files, [2], "only the file that is not loaded");
    assert_eq!(second.until(State::InsertCodes).await.error().kind, StepErrorKind::FileRejected);

    // The job has frozen the object's version, and a corrected upload is another version of another job. The test
    // replaces the frozen version, as if S3 had served it incompletely before.
    world.db.exec("UPDATE onceload.import_files SET version_id = NULL WHERE file_no = 2").await;
    let _ = world.s3.put(&b, "code,sku\nB1,1\nB2,2\n");
    let etag = world.app.objects().head(&b, None).await.unwrap().unwrap();
    world
        .db
        .exec(&format!(
            "UPDATE onceload.import_files SET etag = '{}', bytes = {} WHERE file_no = 2",
            etag.etag, etag.bytes
        ))
        .await;
    assert!(matches!(run.retry(&world.actor).await, Decision::Taken { .. }));
    let mut third = Run::of_job(&world.app, run.job, 3);
    third.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!((&job["records"], &job["staged"], &job["codes_inserted"]), (&json!(6), &json!(6), &json!(5)));
    assert_eq!(job["validation_errors"], json!([]));
    assert_eq!(job["error_message"], json!(null));
    assert_eq!(world.s3.reads(&a), 2, "inspected once and loaded once in three attempts");
}

/// An object that was deleted, or overwritten in a bucket without versions, is missing.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_frozen_object_version_is_loaded() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    let mut run = world.import_objects(&[&key]);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    // A later version belongs to later jobs.
    world.s3.put(&key, "code\nLATER\n");
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes").await, ["A"]);

    let key = world.upload("b.csv", "code\nB\n");
    let mut run = world.import_objects(&[&key]);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    world
        .db
        .exec(&format!("UPDATE onceload.import_files SET version_id = NULL WHERE job_id = '{}'", run.job))
        .await;
    world.s3.put(&key, "code\nOVERWRITTEN\n");
    let error = run.until(State::InsertCodes).await.error();
    assert!(error.message.contains("missing_object") && error.message.contains(&key), "{error}");

    let key = world.upload("c.csv", "code\nC\n");
    let mut run = world.import_objects(&[&key]);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    world.s3.remove(&key);
    let error = run.until(State::InsertCodes).await.error();
    assert!(error.message.contains("missing_object"), "{error}");
    assert_eq!(world.db.column("SELECT code FROM onceload.codes").await, ["A"]);
}
