//! Checking files without an import reports the layouts, faults, counts and rejects that the import would find.

use import_jobs::check::check_source;
use onceload_tests::files::gzip;
use onceload_tests::fixture::subject;
use onceload_tests::http::{Response, receive, request};
use onceload_tests::objects::ReadFault;
use onceload_tests::{State, World};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::source::{Source, StartRequest};
use std::fmt::Write;
use std::time::Duration;

async fn check(world: &World, body: &Value) -> Response {
    let request = request("POST", "/imports/check", Some(&subject(&world.actor)), &body.to_string());
    receive(import_jobs::handle(world.app.clone(), request).await)
}

async fn check_keys(world: &World, keys: &[String]) -> Vec<Value> {
    let answer = check(world, &json!({ "merchant_id": world.merchant, "files": keys })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["files"].as_array().expect("files").clone()
}

fn source(world: &World, files: &[String]) -> Source {
    StartRequest {
        merchant_id: world.merchant,
        files: Some(files.to_vec()),
        prefix: None,
        mapping: None,
        options: None,
    }
    .check()
    .expect("a good request")
}

/// The import's counts of each file.
async fn count_imported(world: &World, job: JobId) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT key, records, staged, rejected, skipped FROM onceload.import_files WHERE job_id = '{job}' ORDER BY key"
    );
    world.db.rows(&sql).await
}

fn count_checked(files: &[Value]) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    files
        .iter()
        .map(|file| {
            assert_eq!(file["records"]["exact"], json!(true), "{file}");
            [&file["key"], &file["records"]["count"], &file["staged"], &file["rejected"], &file["skipped"]]
                .map(text)
                .to_vec()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_describes_a_file_as_the_import_reads_it() {
    let world = World::new().await;
    let text = "\u{feff}Product Name;CODE;Colour;price;points;window_start\r\n\
                Shirt;A-1;red;9.5;7;2026-01-02\r\n;A-2;;;;\r\n\r\nX;;red;1;1;\r\nX;A-3;red;1,5;1;\r\n;;;;;\r\n";
    let key = world.upload("one.csv", text.as_bytes().to_vec());
    let file = &check_keys(&world, std::slice::from_ref(&key)).await[0];
    assert_eq!((&file["key"], &file["fault"]), (&json!(key), &Value::Null), "{file:#}");
    assert_eq!((&file["delimiter"], &file["bom"]), (&json!(";"), &json!(true)));
    assert_eq!((&file["compression"], &file["encoding"]), (&json!("none"), &json!("utf-8")));
    assert_eq!(file["columns"]["ignored"], json!(["Colour"]));
    assert_eq!(file["columns"]["recognised"], json!(["code", "points", "price", "sku_name", "window_start"]));
    assert_eq!(
        file["columns"]["missing"],
        json!(["serial", "sku", "batch_code", "window_end", "merchant_id"])
    );
    assert_eq!(
        (&file["mapping"]["sku_name"], &file["mapping"]["code"]),
        (&json!("Product Name"), &json!("CODE"))
    );
    assert_eq!(file["records"], json!({ "count": 6, "exact": true }));
    assert_eq!([&file["staged"], &file["rejected"], &file["skipped"]], [&json!(2), &json!(2), &json!(2)]);
    assert_eq!(
        file["rows"][0],
        json!({ "record_number": 1, "line": 2, "code": "A-1", "serial": null, "sku": null, "points": 7,
                "sku_name": "Shirt", "batch_code": null, "price": 9.5, "window_start": "2026-01-02T00:00:00Z",
                "window_end": null })
    );
    assert_eq!(
        file["rejects"],
        json!([
            { "record_number": 4, "line": 5, "reason": "empty_code", "detail": "code is ``", "raw": "X;;red;1;1;" },
            { "record_number": 5, "line": 6, "reason": "invalid_price", "detail": "price is `1,5`",
              "raw": "X;A-3;red;1,5;1;" },
        ])
    );
    let body = json!({ "merchant_id": world.merchant, "prefix": world.key_under_stage(""), "mapping": { "serial": "Colour" } });
    let mapped = check(&world, &body).await;
    assert_eq!(mapped.body["files"][0]["mapping"]["serial"], json!("Colour"), "{mapped:?}");
    assert_eq!(mapped.body["files"][0]["rows"][0]["serial"], json!("red"));
    assert_eq!(
        world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await,
        0,
        "nothing is written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_reports_the_faults_of_the_import() {
    let world = World::new().await;
    let rows: String = (0..60_000).map(|i| format!("C{i:08},{}\n", i % 7)).collect();
    let long = format!("code,points\n{rows}");
    let mut cut = gzip(long.as_bytes());
    cut.truncate(cut.len() - 9);
    let open = format!("{long}X,\"1\nY,2\n");
    let mut keys = Vec::new();
    for (name, body) in [
        ("a-good.csv", b"code\nA\n".to_vec()),
        ("b-empty.csv", b"\n\n".to_vec()),
        ("c-header.csv", b"code\n".to_vec()),
        ("d-none.csv", b"voucher\nA\n".to_vec()),
        ("e-cut.csv.gz", cut),
        ("f-open.csv", open.into_bytes()),
        ("g-utf16.csv", b"\xff\xfec\0o\0d\0e\0".to_vec()),
    ] {
        keys.push(world.upload(name, body));
    }
    keys.push(world.key_under_stage("h-missing.csv"));
    let files = check_keys(&world, &keys).await;
    let reasons: Vec<&str> =
        files.iter().map(|file| file["fault"]["reason"].as_str().unwrap_or("good")).collect();
    assert_eq!(
        reasons,
        [
            "good",
            "empty_file",
            "header_only",
            "no_code_column",
            "truncated_gzip",
            "unterminated_quote",
            "utf16",
            "missing_object"
        ]
    );
    assert_eq!(files[5]["fault"]["line"], json!(60_002), "{}", files[5]["fault"]);
    assert!(files[3]["fault"]["advice"].as_str().is_some_and(|advice| advice.contains("mapping")));
    for (key, reason) in keys.iter().zip(reasons).skip(1) {
        let mut run = world.import_objects(&[key]);
        run.until(State::InsertCodes).await.error();
        let job = world.db.value(
            "SELECT validation_errors FROM onceload.codes_import_jobs ORDER BY created_at DESC LIMIT 1",
        );
        let errors: Value = serde_json::from_str(&job.await).unwrap();
        assert_eq!(errors[0]["reason"], json!(reason), "{key}: {errors}");
    }
}

/// Records of which most are valid.
fn records() -> impl Strategy<Value = Vec<String>> {
    let code =
        prop_oneof![8 => "[A-Za-z0-9-]{1,12}", 1 => Just(String::new()), 1 => "[ ]{1,3}", 1 => "x{254,258}"];
    let points = prop_oneof![6 => "[0-9]{0,6}", 1 => "[a-z]{1,4}", 1 => "99999999999"];
    let sku = prop_oneof![5 => "[a-zé ]{0,8}", 1 => "\"\"[a-z]\n[a-z]", 1 => "[a-z];[a-z]"];
    let whole = (code, points, sku, 0u8..20).prop_map(|(code, points, sku, shape)| match shape {
        0 => String::new(),
        1 => ",,".to_owned(),
        2 => format!("{code},{points},{sku:?},extra,fields"),
        3 => code,
        _ => format!("{code},{points},\"{sku}\""),
    });
    proptest::collection::vec(whole, 1..60)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_counts_and_rejects_as_the_import_does() {
    let world = World::new().await;
    let mut runner = TestRunner::default();
    let mut keys = Vec::new();
    for file in 0..24 {
        let mut text = String::from("code,points,sku\n");
        let end = ["\n", "\r\n"][file % 2];
        for record in records().new_tree(&mut runner).unwrap().current() {
            let _ = write!(text, "{record}{end}");
        }
        // A file without a good record would be a fault.
        text.push_str("LAST,1,x");
        let body =
            if file % 3 == 0 { zstd::encode_all(text.as_bytes(), 1).unwrap() } else { text.into_bytes() };
        keys.push(world.upload(&format!("{file:02}.csv"), body));
    }
    // This file is longer than the head that is read first.
    let long: String =
        (0..40_000).map(|i| format!("L{i:07},{}\n", if i % 1000 == 0 { "x" } else { "1" })).collect();
    keys.push(world.upload("long.csv", format!("code,points\n{long}")));
    let files = check_keys(&world, &keys).await;

    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut run = world.import_objects(&names);
    run.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    assert_eq!(count_checked(&files), count_imported(&world, run.job).await);
    let sql = format!(
        "SELECT file, record_number, line_number, reason, detail FROM onceload.import_rejects WHERE job_id = '{}'
          ORDER BY file, record_number",
        run.job
    );
    let rejected = world.db.rows(&sql).await;
    assert!(rejected.len() > 40, "the files hold rejects: {}", rejected.len());
    for file in &files {
        let of_file: Vec<_> =
            rejected.iter().filter(|row| Some(row[0].as_str()) == file["key"].as_str()).collect();
        let shown = file["rejects"].as_array().unwrap();
        assert_eq!(shown.len(), of_file.len().min(20));
        for (shown, row) in shown.iter().zip(of_file) {
            let shown = [
                shown["record_number"].to_string(),
                shown["line"].to_string(),
                shown["reason"].as_str().unwrap().to_owned(),
                shown["detail"].as_str().unwrap().to_owned(),
            ];
            let row: Vec<&str> = row[1..].iter().map(String::as_str).collect();
            assert_eq!(shown.each_ref().map(String::as_str).as_slice(), row);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_without_time_to_count_estimates_and_says_so() {
    let world = World::new().await;
    // The text hardly compresses, so both files are longer than the head that is read first.
    let rows: String =
        (0..100_000u64).map(|i| format!("{:016x},1\n", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let text = format!("code,points\n{rows}");
    let plain = world.upload("plain.csv", text.clone());
    let packed = world.upload("packed.csv.zst", zstd::encode_all(text.as_bytes(), 1).unwrap());
    // S3 never sends a byte beyond the head.
    let _gates = [&plain, &packed].map(|key| world.s3.gate(key, 128 * 1024));
    let keys = [packed.clone(), plain.clone()];
    let answer = check_source(&world.app, source(&world, &keys), Duration::from_millis(300)).await.unwrap();
    for file in answer["files"].as_array().unwrap() {
        assert_eq!(file["records"]["exact"], json!(false), "{}", file["key"]);
        let count = file["records"]["count"].as_i64().unwrap();
        assert!((80_000..120_000).contains(&count), "{count} records are about 100,000: {}", file["key"]);
        assert_eq!(file["rows"].as_array().unwrap().len(), 20);
    }
    assert_eq!(answer["totals"]["records"]["exact"], json!(false));
    // With enough time the counts are exact.
    for key in &keys {
        world.s3.inject_fault(key, ReadFault::default());
    }
    let answer = check_source(&world.app, source(&world, &keys), Duration::from_secs(60)).await.unwrap();
    assert_eq!(answer["totals"]["records"], json!({ "count": 200_000, "exact": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_many_files_fits_into_lambdas_limit() {
    let world = World::new().await;
    let wide = "w".repeat(250);
    let text: String = (0..40).map(|i| format!("{wide}{i:02},{wide},{wide},{wide},{wide}\n")).collect();
    for file in 0..260 {
        world.upload(&format!("many/{file:03}.csv"), format!("code,serial,sku,sku_name,batch_code\n{text}"));
    }
    let body = json!({ "merchant_id": world.merchant, "prefix": world.key_under_stage("many/") });
    let answer = check(&world, &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["totals"]["files"], json!(260));
    assert_eq!(answer.body["totals"]["records"], json!({ "count": 260 * 40, "exact": true }));
    assert!(answer.body.to_string().len() < 5_500_000, "{}", answer.body.to_string().len());
    let files = answer.body["files"].as_array().unwrap();
    assert_eq!(
        (&files[0]["samples_left_out"], &files[259]["samples_left_out"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_check_requests_are_rejected() {
    let world = World::new().await;
    let m = world.merchant;
    let other = onceload_tests::fixture::add_merchant(&world.db, "Other").await;
    let key = world.upload("a.csv", "code\nA\n");
    let theirs = json!({ "merchant_id": other, "files": [format!("stage/{other}/a.csv")] });
    assert_eq!(check(&world, &theirs).await.status, 404);
    for (body, pointer) in [
        (json!({ "merchant_id": m }), "-"),
        (json!({ "merchant_id": m, "files": [key], "prefix": format!("stage/{m}/") }), "-"),
        (json!({ "merchant_id": m, "files": [] }), "/files"),
        (json!({ "merchant_id": m, "files": [format!("stage/{other}/a.csv")] }), "/files/0"),
        (json!({ "merchant_id": m, "prefix": format!("stage/{other}/") }), "/prefix"),
        (json!({ "merchant_id": m, "prefix": format!("stage/{m}/none/") }), "/prefix"),
        (json!({ "merchant_id": m, "files": [key], "mapping": { "colour": "x" } }), "/mapping/colour"),
        (json!({ "merchant_id": m, "files": [key], "options": {} }), "/options"),
    ] {
        let answer = check(&world, &body).await;
        let (status, found) = answer.problem();
        assert_eq!(status, 422, "{body}: {answer:?}");
        assert!(pointer == "-" || found == pointer, "{body}: {found}");
    }
}

/// A fifth check is told to wait, and a check that died counts for half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_runs_four_checks_at_a_time() {
    let world = World::new().await;
    let app = world.app_with_pool(8);
    let key = world.upload("a.csv", format!("code\n{}", "A\n".repeat(200_000)));
    let body = json!({ "merchant_id": world.merchant, "files": [key] }).to_string();
    let check = || {
        let request = request("POST", "/imports/check", Some(&subject(&world.actor)), &body);
        let app = app.clone();
        async move { receive(import_jobs::handle(app, request).await) }
    };
    let gate = world.s3.gate(&key, 128 * 1024);
    let running: Vec<_> = (0..4).map(|_| tokio::spawn(check())).collect();
    let counted = "SELECT coalesce(max(cardinality(checks)), 0) = 4 FROM onceload.users";
    world.db.until("four checks", counted).await;
    let refused = check().await;
    assert_eq!(refused.problem().0, 429, "{refused:?}");
    assert_eq!(refused.body["type"], "urn:onceload:problem:check-in-progress");
    assert_eq!(refused.header("retry-after"), Some("5"));
    drop(gate);
    for check in running {
        assert_eq!(check.await.unwrap().status, 200);
    }
    assert_eq!(world.db.value("SELECT max(cardinality(checks)) FROM onceload.users").await, "0");

    let died = async |age: u32| {
        let sql = format!(
            "UPDATE onceload.users SET checks = array_fill(now() + interval '30 s' - interval '{age} s', ARRAY[4])"
        );
        world.db.exec(&sql).await;
    };
    died(20).await;
    assert_eq!(check().await.status, 429);
    died(31).await;
    assert_eq!(check().await.status, 200);
    assert_eq!(world.db.value("SELECT max(cardinality(checks)) FROM onceload.users").await, "0");
}
