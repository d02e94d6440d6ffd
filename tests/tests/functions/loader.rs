//! What the loader makes of records, and that a file is loaded once however often and by however many.

use crate::bad_files::{gzip, noise};
use onceload_tests::objects::Trouble;
use onceload_tests::{Bench, Body, Run, State};
use serde_json::json;
use shared::domain::step::StepErrorKind;
use std::time::Duration;

/// Imports one file and returns what was staged, `code|serial|points`, in order.
async fn staged(bench: &Bench, name: &str, body: impl Into<Body>) -> (Run, Vec<String>) {
    let mut run = bench.file(name, body);
    run.until(State::PlanChunks).await.expect(State::PlanChunks);
    let rows = bench
        .db
        .column(&format!(
            "SELECT concat_ws('|', code, serial, points) FROM codes_check_temp('{}') ORDER BY row_number",
            run.job
        ))
        .await;
    let ended = run.cancel(&bench.actor).await;
    assert!(matches!(ended, shared::db::decisions::Decision::Taken { .. }));
    run.close_caught("Cancelled", "").await.unwrap();
    (run, rows)
}

async fn file_counts(bench: &Bench, run: &Run) -> [i64; 4] {
    let row = bench
        .db
        .rows(&format!(
            "SELECT records, staged, rejected, skipped FROM import_files WHERE job_id = '{}'",
            run.job
        ))
        .await;
    [0, 1, 2, 3].map(|i| row[0][i].as_ref().unwrap().parse().unwrap())
}

async fn rejects(bench: &Bench, run: &Run) -> Vec<String> {
    bench
        .db
        .column(&format!(
            "SELECT concat_ws(' ', record_number, line_number, reason) FROM import_rejects WHERE job_id = '{}' ORDER BY record_number",
            run.job
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_records_in_every_shape() {
    let bench = Bench::new().await;
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
        // The name says nothing, the bytes do.
        ("plain.csv.gz", plain.into()),
    ];
    for (name, body) in shapes {
        let (run, rows) = staged(&bench, name, body).await;
        assert_eq!(rows, expected, "{name}");
        let [records, staged, rejected, skipped] = file_counts(&bench, &run).await;
        assert_eq!([records, staged, rejected], [3 + skipped, 3, 0], "{name}");
        assert_eq!(skipped, if name == "blank.csv" { 5 } else { 0 }, "{name}");
    }
    let (run, _) = staged(&bench, "unknown.csv", "code,colour,size\nA,red,1\n").await;
    let layout = bench
        .db
        .value(&format!("SELECT layout->'unknown' FROM import_files WHERE job_id = '{}'", run.job))
        .await;
    assert_eq!(layout, r#"["colour", "size"]"#, "unknown columns are reported");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_kept_byte_for_byte() {
    let bench = Bench::new().await;
    let long = format!("{}é", "x".repeat(253));
    assert_eq!(long.len(), 255);
    let codes = [
        "abc",
        "ABC",
        "0001",
        "1",
        "01",
        "\u{a0}nbsp",
        "nbsp",
        "e\u{301}",
        "é",
        "a  b",
        "\"",
        "a,b",
        "line\nend",
        &long,
    ];
    let mut text = String::from("code\n");
    for code in codes {
        text.push_str(&format!("\"{}\"\n", code.replace('"', "\"\"")));
    }
    // Quoted or not, ASCII space around a code goes; other space is the code's own.
    text.push_str("\"  0001 \"\n");
    text.push_str(&format!("{}é\n", "x".repeat(254)));
    let mut run = bench.file("codes.csv", text);
    run.finish(&bench.actor).await.expect(State::Done);
    let job = bench.job(run.job).await;
    assert_eq!(job["internal_duplicates"], 1);
    assert_eq!(
        rejects(&bench, &run).await,
        ["16 18 too_long"],
        "256 bytes are too many, and the line is the physical one"
    );
    let mut expected: Vec<String> = codes.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(bench.db.column("SELECT code FROM codes ORDER BY code COLLATE \"C\"").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_kept_with_its_reason() {
    let bench = Bench::new().await;
    let other = onceload_tests::fixture::add_merchant(&bench.db, "Other").await;
    let header = "code,serial,points,price,window_start,window_end,merchant_id";
    let own = bench.merchant;
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
        // A short record leaves the merchant out; a record that ends after the code has no column to contradict.
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
    let mut run = bench.file("rules.csv", text);
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(rejects(&bench, &run).await, expected);
    let kept = bench.db.column("SELECT encode(raw, 'hex') FROM import_rejects ORDER BY record_number").await;
    let raws: Vec<String> = raws.iter().map(|raw| raw.iter().map(|b| format!("{b:02x}")).collect()).collect();
    assert_eq!(kept, raws, "the record as it was, its first 8 KiB");
    let files = bench.db.column("SELECT DISTINCT file FROM import_rejects").await;
    assert_eq!(files, [bench.stage_key("rules.csv")]);
    assert_eq!(bench.db.column("SELECT code FROM codes ORDER BY 1").await, ["OK1", "OK2", "OK3", "OK4"]);
    let row = bench.db.value("SELECT concat_ws('|', serial, points, price, window_start AT TIME ZONE 'UTC', window_end AT TIME ZONE 'UTC') FROM codes WHERE code = 'OK2'").await;
    assert_eq!(row, "two\nlines|-5|12.30|2026-01-01 00:00:00|2026-12-31 21:59:59");
    assert_eq!(file_counts(&bench, &run).await, [20, 4, 16, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_renames_columns() {
    let bench = Bench::new().await;
    let key = bench.stage("m.csv", "Voucher,code,Wert\nV1,x,1.50\nV2,y,2\n");
    let mut run = Run::new(
        &bench.app,
        json!({ "merchant_id": bench.merchant, "files": [key], "mapping": { "code": "voucher", "price": " WERT" } }),
    );
    run.finish(&bench.actor).await.expect(State::Done);
    let rows = bench.db.column("SELECT concat_ws('|', code, serial, price) FROM codes ORDER BY 1").await;
    assert_eq!(rows, ["V1|1.50", "V2|2.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_that_breaks_off_is_picked_up_where_it_broke() {
    let bench = Bench::new().await;
    let text = noise(40_000);
    let length = text.len() as u64;
    for (name, body) in [("plain.csv", text.clone().into_bytes()), ("packed.csv.gz", gzip(text.as_bytes()))] {
        let mut run = bench.file(name, body);
        run.until(State::LoadFiles).await.expect(State::LoadFiles);
        let key = bench.stage_key(name);
        // An odd number of bytes, so that records and gzip blocks are torn.
        bench.s3.trouble(&key, Trouble { break_off: Some((length / 9 + 1, 4)), ..Trouble::default() });
        let before = bench.s3.reads(&key);
        run.load(1).await.unwrap();
        assert!(bench.s3.reads(&key) - before >= 4, "{name} was not broken off");
        let seen = bench
            .db
            .rows(&format!("SELECT count(*), count(DISTINCT code), count(DISTINCT row_number) FROM codes_check_temp('{}')", run.job))
            .await;
        assert_eq!(
            seen[0],
            [Some("40000".to_owned()), Some("40000".to_owned()), Some("40000".to_owned())],
            "{name}"
        );
        bench.s3.trouble(&key, Trouble::default());
        run.cancel(&bench.actor).await;
        run.close_caught("Cancelled", "").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_that_is_broken_for_good_is_transient() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", noise(10_000));
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let key = bench.stage_key("a.csv");
    bench.s3.trouble(&key, Trouble { break_off: Some((0, 1000)), ..Trouble::default() });
    let error = run.load(1).await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    assert_eq!(bench.db.int(&format!("SELECT count(*) FROM codes_check_temp('{}')", run.job)).await, 0);
    assert_eq!(
        bench.db.column("SELECT status FROM import_files").await,
        ["pending"],
        "nobody blames the file"
    );
    bench.s3.trouble(&key, Trouble::default());
    assert_eq!(run.load(1).await.unwrap().counts.staged, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_that_answers_with_errors_is_asked_again() {
    let bench = Bench::new().await;
    let key = bench.stage("a.csv", "code\nA\n");
    bench.s3.trouble(&key, Trouble { refuse: Some((503, 2)), ..Trouble::default() });
    let mut run = bench.request(&[&key]);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    bench.s3.trouble(&key, Trouble { refuse: Some((500, 5)), ..Trouble::default() });
    assert_eq!(run.load(1).await.unwrap().counts.staged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loaders_of_one_file_load_it_once() {
    let bench = Bench::new().await;
    let text = noise(30_000);
    let mut run = bench.file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    // Both are in the middle of it before either may end.
    let gate = bench.s3.gate(&bench.stage_key("a.csv"), text.len() as u64 / 2);
    let other = Run { app: onceload_tests::fixture::app(&bench.db, &bench.s3), ..run.clone() };
    let loaders = [run.clone(), other].map(|run| tokio::spawn(async move { run.load(1).await }));
    bench
        .db
        .until("one loader waits for the other", "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        .await;
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
    assert_eq!(bench.db.int(&format!("SELECT count(*) FROM codes_check_temp('{}')", run.job)).await, 30_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loader_of_an_old_attempt_writes_nothing() {
    let bench = Bench::new().await;
    let text = noise(30_000);
    let mut run = bench.file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let gate = bench.s3.gate(&bench.stage_key("a.csv"), text.len() as u64 / 2);
    let ghost = {
        let run = Run { app: onceload_tests::fixture::app(&bench.db, &bench.s3), ..run.clone() };
        tokio::spawn(async move { run.load(1).await })
    };
    bench.db.until("the loader beats", "SELECT count(*) > 0 FROM import_progress WHERE step = 'load'").await;
    // Its execution is lost; somebody closes the job and retries it.
    run.close_caught("States.Timeout.Made.Up", "the execution was aborted").await.unwrap();
    assert_eq!(bench.status(run.job).await, "failed");
    run.retry(&bench.actor).await;
    gate.send(true).unwrap();
    let error = ghost.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert_eq!(bench.db.int(&format!("SELECT count(*) FROM codes_check_temp('{}')", run.job)).await, 0);
    let mut second = Run::of_job(&bench.app, run.job, 2);
    second.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(bench.codes().await, 30_000);
    // The ghost's execution says that it failed: nobody listens.
    run.close_caught("Transient", "a late word").await.unwrap();
    assert_eq!(bench.status(run.job).await, "completed");
}

/// A slow S3 does not lose the transaction that waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn slow_is_not_broken() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", noise(20_000));
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let slow = Trouble { slow: Some(Duration::from_millis(150)), ..Trouble::default() };
    bench.s3.trouble(&bench.stage_key("a.csv"), slow);
    assert_eq!(run.load(1).await.unwrap().counts.staged, 20_000);
}
