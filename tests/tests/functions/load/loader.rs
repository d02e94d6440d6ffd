//! The loader: the rows that it makes of records, its handling of S3 faults, and that it loads a file once.

use onceload_tests::files::{gzip, noise};
use onceload_tests::objects::ReadFault;
use onceload_tests::{Body, Run, State, World};
use serde_json::json;
use shared::domain::step::StepErrorKind;
use std::time::Duration;

/// Imports one file and returns the staged rows in order, as `code|serial|points`.
async fn stage_rows(world: &World, name: &str, body: impl Into<Body>) -> (Run, Vec<String>) {
    let mut run = world.import_file(name, body);
    run.until(State::PlanChunks).await.expect(State::PlanChunks);
    let rows = world
        .db
        .column(&format!(
            "SELECT concat_ws('|', code, serial, points) FROM onceload.codes_check_temp('{}') ORDER BY row_number",
            run.job
        ))
        .await;
    let ended = run.cancel(&world.actor).await;
    assert!(matches!(ended, import_jobs::decide::Decision::Taken { .. }));
    run.close_caught("Cancelled", "").await.unwrap();
    (run, rows)
}

async fn read_file_counts(world: &World, run: &Run) -> [i64; 4] {
    let row = world
        .db
        .rows(&format!(
            "SELECT records, staged, rejected, skipped FROM onceload.import_files WHERE job_id = '{}'",
            run.job
        ))
        .await;
    [0, 1, 2, 3].map(|i| row[0][i].parse().unwrap())
}

async fn read_rejects(world: &World, run: &Run) -> Vec<String> {
    world
        .db
        .column(&format!(
            "SELECT concat_ws(' ', record_number, line_number, reason) FROM onceload.import_rejects WHERE job_id = '{}' ORDER BY record_number",
            run.job
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_and_compression_stages_the_same_records() {
    let world = World::new().await;
    let plain = "code,serial,points\nA,s1,1\nb,\"x, y\",2\nÉ,,3\n";
    let expected = ["A|s1|1", "b|x, y|2", "É|3"];
    let crlf = plain.replace('\n', "\r\n");
    let mut members = gzip(b"code,serial,points\nA,s1,1\nb,\"x");
    members.extend(gzip(", y\",2\nÉ,,3\n".as_bytes()));
    let mut frames = zstd::encode_all(&b"code,serial,points\nA,s1,1\n"[..], 1).unwrap();
    frames.extend(zstd::encode_all("b,\"x, y\",2\nÉ,,3\n".as_bytes(), 1).unwrap());
    let shapes: Vec<(&str, Vec<u8>)> = vec![
        ("lf.csv", plain.into()),
        ("crlf.csv", crlf.clone().into()),
        ("no-end.csv", plain.trim_end().into()),
        ("bom.csv", format!("\u{feff}{plain}").into()),
        ("bom-crlf.csv", format!("\u{feff}{crlf}").into()),
        ("semicolon.csv", "code;serial;points\nA;s1;1\nb;x, y;2\nÉ;;3\n".into()),
        ("tab.csv", "code\tserial\tpoints\nA\ts1\t1\nb\tx, y\t2\nÉ\t\t3\n".into()),
        ("pipe.csv", "code|serial|points\nA|s1|1\nb|x, y|2\nÉ||3\n".into()),
        ("order.csv", "Points, serial NUMBER ,unknown,\"CODE\"\n1,s1,?,A\n2,\"x, y\",?,b\n3,,?,É\n".into()),
        ("spaces.csv", "code,serial,points\n  A\t,s1, 1\nb ,\"x, y\",2 \n É,,+3\n".into()),
        ("blank.csv", "\n\ncode,serial,points\n\nA,s1,1\n,,\n\nb,\"x, y\",2\n  ,\t,\nÉ,,3\n\n".into()),
        ("short.csv", "code,points,serial\nA,1,s1\nb,2,\"x, y\"\nÉ,3\n".into()),
        ("gzip.csv", gzip(plain.as_bytes())),
        ("gzip-bom.csv.gz", gzip(format!("\u{feff}{crlf}").as_bytes())),
        ("members.csv.gz", members),
        ("zstd.csv.zst", zstd::encode_all(plain.as_bytes(), 3).unwrap()),
        ("frames.csv.zst", frames),
        // The bytes decide whether a file is compressed, not its name.
        ("plain.csv.gz", plain.into()),
    ];
    for (name, body) in shapes {
        let (run, rows) = stage_rows(&world, name, body).await;
        assert_eq!(rows, expected, "{name}");
        let [records, staged, rejected, skipped] = read_file_counts(&world, &run).await;
        assert_eq!([records, staged, rejected], [3 + skipped, 3, 0], "{name}");
        assert_eq!(skipped, if name == "blank.csv" { 5 } else { 0 }, "{name}");
    }
    let (run, _) = stage_rows(&world, "unknown.csv", "code,colour,size\nA,red,1\n").await;
    let layout = world
        .db
        .value(&format!("SELECT layout->'unknown' FROM onceload.import_files WHERE job_id = '{}'", run.job))
        .await;
    assert_eq!(layout, r#"["colour", "size"]"#, "unknown columns are reported");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_stored_byte_for_byte() {
    let world = World::new().await;
    let long = format!("{}é", "x".repeat(253));
    assert_eq!(long.len(), 255);
    let codes =
        ["abc", "ABC", "0001", "1", "01", "\u{a0}nbsp", "nbsp", "e\u{301}", "é", "a  b", "\"", "a,b", &long];
    let mut text = String::from("code\n");
    for code in codes {
        text.push_str(&format!("\"{}\"\n", code.replace('"', "\"\"")));
    }
    // ASCII space around a code is trimmed, quoted or not. Other space belongs to the code.
    text.push_str("\"  0001 \"\n");
    text.push_str(&format!("{}é\n", "x".repeat(254)));
    let run = world.import_to_end("codes.csv", text).await;
    let job = world.read_job(run.job).await;
    assert_eq!(job["internal_duplicates"], 1);
    assert_eq!(
        read_rejects(&world, &run).await,
        ["15 16 too_long"],
        "256 bytes are too many, and the line is the physical one"
    );
    let mut expected: Vec<String> = codes.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(
        world.db.column("SELECT code FROM onceload.codes ORDER BY code COLLATE \"C\"").await,
        expected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_breaks_a_rule_is_rejected_with_its_reason() {
    let world = World::new().await;
    let other = onceload_tests::fixture::add_merchant(&world.db, "Other").await;
    let header = "code,serial,points,price,window_start,window_end,merchant_id";
    let own = world.merchant;
    let big = "y".repeat(20_000);
    let mut text = format!("{header}\n").into_bytes();
    let lines: Vec<(Vec<u8>, Option<&str>)> = vec![
        (format!("OK1,,,,,,{own}").into(), None),
        (
            format!(
                "OK2,\"two\nlines\",-5,12.30,2026-01-01,2026-12-31T23:59:59+02:00,{}",
                own.to_string().to_uppercase()
            )
            .into(),
            None,
        ),
        (format!(",s,1,,,,{own}").into(), Some("empty_code")),
        (format!("N1,,1e5,,,,{own}").into(), Some("invalid_points")),
        (format!("N2,,\"1,5\",,,,{own}").into(), Some("invalid_points")),
        (format!("N3,,2147483648,,,,{own}").into(), Some("invalid_points")),
        (format!("P1,,,1e5,,,{own}").into(), Some("invalid_price")),
        (format!("P2,,,\"1,5\",,,{own}").into(), Some("invalid_price")),
        (format!("P3,,,12345678901,,,{own}").into(), Some("invalid_price")),
        (format!("D1,,,,31.12.2026,,{own}").into(), Some("invalid_date")),
        (format!("D2,,,,,2026-02-30,{own}").into(), Some("invalid_date")),
        (format!("M1,,,,,,{other}").into(), Some("merchant_mismatch")),
        (b"M2,,,,,,42".to_vec(), Some("invalid_merchant_id")),
        // A record that ends before the merchant's column can't contradict the merchant.
        (b"OK3,s".to_vec(), None),
        (format!("L1,{big},,,,,{own}").into(), Some("too_long")),
        (format!("E1,,,,,,{own},more").into(), Some("extra_fields")),
        ([b"U1,\xff\xfe,,,,,".as_slice(), own.to_string().as_bytes()].concat(), Some("invalid_utf8")),
        ([b"Z1,a\0b,,,,,".as_slice(), own.to_string().as_bytes()].concat(), Some("nul_byte")),
        (format!("Q1,\"a\nb\nc\",x,,,,{own}").into(), Some("invalid_points")),
        (format!("OK4,,,,,,{own}").into(), None),
    ];
    let (mut expected, mut raws, mut line) = (Vec::new(), Vec::new(), 2);
    for (number, (bytes, reason)) in lines.iter().enumerate() {
        if let Some(reason) = reason {
            expected.push(format!("{} {line} {reason}", number + 1));
            raws.push(bytes[..bytes.len().min(8192)].to_vec());
        }
        line += 1 + bytes.iter().filter(|b| **b == b'\n').count();
        text.extend_from_slice(bytes);
        text.extend_from_slice(b"\r\n");
    }
    let run = world.import_to_end("rules.csv", text).await;
    assert_eq!(read_rejects(&world, &run).await, expected);
    let kept = world
        .db
        .column("SELECT encode(raw, 'hex') FROM onceload.import_rejects ORDER BY record_number")
        .await;
    let raws: Vec<String> = raws.iter().map(|raw| raw.iter().map(|b| format!("{b:02x}")).collect()).collect();
    assert_eq!(kept, raws, "the raw record, up to 8 KiB");
    let files = world.db.column("SELECT DISTINCT file FROM onceload.import_rejects").await;
    assert_eq!(files, [world.key_under_stage("rules.csv")]);
    assert_eq!(
        world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await,
        ["OK1", "OK2", "OK3", "OK4"]
    );
    let row = world.db.value("SELECT concat_ws('|', serial, points, price, window_start AT TIME ZONE 'UTC', window_end AT TIME ZONE 'UTC') FROM onceload.codes WHERE code = 'OK2'").await;
    assert_eq!(row, "two\nlines|-5|12.30|2026-01-01 00:00:00|2026-12-31 21:59:59");
    assert_eq!(read_file_counts(&world, &run).await, [20, 4, 16, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_renames_columns() {
    let world = World::new().await;
    let key = world.upload("m.csv", "Voucher,code,Wert\nV1,x,1.50\nV2,y,2\n");
    let mut run = Run::new(
        &world.app,
        json!({ "merchant_id": world.merchant, "files": [key], "mapping": { "code": "voucher", "price": " WERT" } }),
    );
    run.finish(&world.actor).await.expect(State::Done);
    let rows =
        world.db.column("SELECT concat_ws('|', code, serial, price) FROM onceload.codes ORDER BY 1").await;
    assert_eq!(rows, ["V1|1.50", "V2|2.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_resumes_where_it_broke() {
    let world = World::new().await;
    let text = noise(40_000);
    let length = text.len() as u64;
    for (name, body) in [("plain.csv", text.clone().into_bytes()), ("packed.csv.gz", gzip(text.as_bytes()))] {
        let mut run = world.import_file(name, body);
        run.until(State::LoadFiles).await.expect(State::LoadFiles);
        let key = world.key_under_stage(name);
        // An odd number of bytes splits records and gzip blocks.
        world
            .s3
            .inject_fault(&key, ReadFault { break_off: Some((length / 9 + 1, 4)), ..ReadFault::default() });
        let before = world.s3.reads(&key);
        run.load(1).await.unwrap();
        assert!(world.s3.reads(&key) - before >= 4, "{name} was not broken off");
        let seen = world
            .db
            .rows(&format!("SELECT count(*), count(DISTINCT code), count(DISTINCT row_number) FROM onceload.codes_check_temp('{}')", run.job))
            .await;
        assert_eq!(seen[0], ["40000", "40000", "40000"], "{name}");
        world.s3.inject_fault(&key, ReadFault::default());
        run.cancel(&world.actor).await;
        run.close_caught("Cancelled", "").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_never_completes_is_a_transient_error() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", noise(10_000));
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let key = world.key_under_stage("a.csv");
    world.s3.inject_fault(&key, ReadFault { break_off: Some((0, 1000)), ..ReadFault::default() });
    let error = run.load(1).await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    assert_eq!(world.count_staged(run.job).await, 0);
    assert_eq!(
        world.db.column("SELECT status FROM onceload.import_files").await,
        ["pending"],
        "the file is not marked as failed"
    );
    world.s3.inject_fault(&key, ReadFault::default());
    assert_eq!(run.load(1).await.unwrap().counts.staged, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_of_s3_are_retried() {
    let world = World::new().await;
    let key = world.upload("a.csv", "code\nA\n");
    world.s3.inject_fault(&key, ReadFault { refuse: Some((503, 2)), ..ReadFault::default() });
    let mut run = world.import_objects(&[&key]);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    world.s3.inject_fault(&key, ReadFault { refuse: Some((500, 5)), ..ReadFault::default() });
    assert_eq!(run.load(1).await.unwrap().counts.staged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_loaders_load_a_file_once() {
    let world = World::new().await;
    let text = noise(30_000);
    let mut run = world.import_file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    // Both loaders are at work before either can finish.
    let gate = world.s3.gate(&world.key_under_stage("a.csv"), text.len() as u64 / 2);
    let other = run.with_own_connections(&world);
    let loaders = [run.clone(), other].map(|run| tokio::spawn(async move { run.load(1).await }));
    world.db.wait_for_blocked("files.take").await;
    gate.send(true).unwrap();
    let mut loaded = 0;
    for loader in loaders {
        match loader.await.unwrap() {
            Ok(output) => {
                assert_eq!(output.counts.staged, 30_000);
                loaded += 1;
            }
            Err(error) => assert_eq!(error.kind, StepErrorKind::Transient, "{error}"),
        }
    }
    assert!(loaded >= 1);
    assert_eq!(run.load(1).await.unwrap().counts.staged, 30_000);
    assert_eq!(world.count_staged(run.job).await, 30_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loader_of_a_superseded_attempt_writes_nothing() {
    let world = World::new().await;
    let text = noise(30_000);
    let mut run = world.import_file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let gate = world.s3.gate(&world.key_under_stage("a.csv"), text.len() as u64 / 2);
    let ghost = {
        let run = run.with_own_connections(&world);
        tokio::spawn(async move { run.load(1).await })
    };
    world
        .db
        .until("the loader beats", "SELECT count(*) > 0 FROM onceload.import_progress WHERE step = 'load'")
        .await;
    // The loader's execution is lost; the job is closed and retried.
    run.close_caught("States.Timeout.Made.Up", "the execution was aborted").await.unwrap();
    assert_eq!(world.read_status(run.job).await, "failed");
    run.retry(&world.actor).await;
    gate.send(true).unwrap();
    let error = ghost.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(world.count_staged(run.job).await, 0);
    let mut second = Run::of_job(&world.app, run.job, 2);
    second.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.count_codes().await, 30_000);
    // The lost execution reports its failure, which has no effect.
    run.close_caught("Transient", "a late word").await.unwrap();
    assert_eq!(world.read_status(run.job).await, "completed");
}

/// The open transaction survives the pauses of a slow S3.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_download_keeps_its_transaction() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", noise(20_000));
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let slow = ReadFault { slow: Some(Duration::from_millis(150)), ..ReadFault::default() };
    world.s3.inject_fault(&world.key_under_stage("a.csv"), slow);
    assert_eq!(run.load(1).await.unwrap().counts.staged, 20_000);
}
