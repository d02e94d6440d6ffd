//! What is taken but worth a look is counted, with the first place and a sample, before anybody approves.

use onceload_tests::fixture::subject;
use onceload_tests::http::{receive, request};
use onceload_tests::{State, World};
use serde_json::{Value, json};
use shared::csv::layout::read_layout;
use shared::csv::rows::Rows;
use shared::domain::field::Mapping;
use shared::domain::ids::MerchantId;
use shared::domain::layout::Compression;
use shared::domain::warning::{SAMPLE_BYTES, Warning};
use std::io::Cursor;
use uuid::Uuid;

async fn read_warnings(text: &str) -> Vec<Warning> {
    let layout = read_layout(text.as_bytes(), true, Compression::None, &Mapping::new()).await.expect(text);
    let merchant = MerchantId(Uuid::from_u128(0xabc));
    let mut rows = Rows::new(Box::pin(Cursor::new(text.as_bytes().to_vec())), &layout, merchant, 100);
    while rows.next().await.expect(text) {
        let _ = rows.row();
    }
    rows.findings().warnings
}

/// `reason count line sample`, without the one about absent columns.
fn warn(text: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let warnings = runtime.block_on(read_warnings(text));
    let described = warnings.iter().map(|w| {
        format!("{} {} {} {}", json!(w.reason).as_str().unwrap_or_default(), w.count, w.line, w.sample)
    });
    described.filter(|warning| !warning.starts_with("absent_columns")).collect()
}

#[test]
fn each_reason_has_a_count_a_line_and_a_sample() {
    for (text, expected) in [
        ("code\nA\nB\n", &[][..]),
        ("code,points\nA,1\nTOTAL\n", &["short_records 1 3 TOTAL"]),
        ("code,points\nA,1\n\n# x\nB,2\n# y\n", &["short_records 2 4 # x"]),
        ("code,points\nA,1\nB,2", &["last_line_unfinished 1 3 B,2"]),
        ("code\nA\n\\.\n", &["end_of_data_mark 1 3 \\."]),
        ("code\n\\.\nA\n", &[]),
        ("code\nA\ncode\n", &["repeated_header 1 3 code"]),
        ("Code,sku\nA,1\nCode,SKU\ncode,1\n", &["repeated_header 1 3 Code,SKU"]),
        ("code,sku\nA,\"x\ny\"\n", &["multi_line_text 1 2 x\\u{a}y"]),
        ("code,points\nA,-1\nB,0\n", &["negative_points 1 2 A,-1"]),
        ("code,price\nA,-0.01\nB,-0\n", &["negative_price 1 2 A,-0.01"]),
        ("code,colour,size\nA,x,y\n", &["ignored_columns 2 1 colour, size"]),
        // What the mark of DOS ends is complete.
        ("code\nA\n\x1a", &[]),
        // A record that is rejected is no warning.
        ("code,points\nNULL,x\n", &[]),
    ] {
        assert_eq!(warn(text), expected, "{text:?}");
    }
}

#[test]
fn windows_that_end_before_they_begin() {
    let text = "code,window_start,window_end\nA,2027-01-01,2026-01-01\nB,2026-01-01,2026-01-01\nC,,2020-01-01\n\
                D,2026-01-01T00:00+01:00,2026-01-01\n";
    assert_eq!(warn(text), ["window_reversed 2 2 A,2027-01-01,2026-01-01"]);
}

#[test]
fn codes_that_stand_for_no_value() {
    for code in [
        "NULL",
        "null",
        "N/A",
        "#N/A",
        "#REF!",
        "#VALUE!",
        "nan",
        "None",
        "(null)",
        "-",
        "undefined",
        "TRUE",
        "na",
        "#NAME?",
        "#DIV/0!",
        "#num!",
        "\\N",
    ] {
        assert_eq!(warn(&format!("code\nA\n{code}\n")), [format!("null_like_code 1 3 {code}")]);
    }
    for code in ["NULL1", "N-A", "--", "U", "TRUE-1"] {
        assert_eq!(warn(&format!("code\n{code}\n")), [""; 0], "{code}");
    }
}

#[test]
fn codes_that_a_spreadsheet_has_rounded() {
    for code in ["1.23457E+12", "1,23457E+12", "2.19e+26", "1E+05", "-1.5E-7", "4.68769E17"] {
        assert_eq!(warn(&format!("code;sku\n{code};\n")), [format!("scientific_code 1 2 {code}")]);
    }
    for code in ["12E34", "1.5", "E+12", "1E+", "1.5E+12X", "1E+12E+3", "123"] {
        assert_eq!(warn(&format!("code;sku\n{code};\n")), [""; 0], "{code}");
    }
}

#[test]
fn codes_that_look_like_others() {
    for (code, sample) in [
        ("A\u{200b}B", "A\\u{200b}B"),
        ("A\u{a0}B", "A\\u{a0}B"),
        ("A\u{ad}B", "A\\u{ad}B"),
        ("CAFE\u{301}", "CAFE\\u{301}"),
        ("\u{410}BC", "\\u{410}BC"),
        ("AB\u{39f}", "AB\\u{39f}"),
    ] {
        assert_eq!(warn(&format!("code\n{code}\n")), [format!("look_alike 1 2 {sample}")]);
    }
    for code in ["CAF\u{c9}", "\u{410}\u{411}\u{412}1", "\u{39a}\u{39f}\u{394}", "\u{4f18}\u{60e0}", "A-1"] {
        assert_eq!(warn(&format!("code\n{code}\n")), [""; 0], "{code}");
    }
    // In other texts it is no matter.
    assert_eq!(warn("code,sku\nA,B\u{200b}\n"), [""; 0]);
}

#[test]
fn a_sample_is_short_and_safe_to_print() {
    let long = format!("code,sku,points\n{},{}\n", "A".repeat(200), "\u{1f642}".repeat(60));
    let warnings = warn(&long);
    assert_eq!(warnings, [format!("short_records 1 2 {}", "A".repeat(SAMPLE_BYTES))]);
    let escaped = warn(&format!("code,sku,points\nA,{}\u{202e}\n", "x".repeat(94)));
    assert_eq!(escaped, [format!("short_records 1 2 A,{}", "x".repeat(94))], "an escape is not cut");
    let header =
        format!("code,{}\nA\n", (0..900).map(|i| format!("column{i}")).collect::<Vec<_>>().join(","));
    assert!(warn(&header).iter().all(|warning| warning.len() < SAMPLE_BYTES + 40), "{:?}", warn(&header));
}

#[tokio::test]
async fn what_is_said_of_a_reject_is_safe_to_print() {
    let text = "code,points\nA,\u{1b}[2J\u{9b}\u{202e}\n";
    let layout = read_layout(text.as_bytes(), true, Compression::None, &Mapping::new()).await.expect(text);
    let source = Box::pin(Cursor::new(text.as_bytes().to_vec()));
    let mut rows = Rows::new(source, &layout, MerchantId(Uuid::from_u128(0xabc)), 100);
    assert!(rows.next().await.expect(text));
    assert_eq!(rows.row().expect_err(text).detail, "points is `\\u{1b}[2J\\u{9b}\\u{202e}`");
}

async fn get(world: &World, path: &str) -> Value {
    let answer = request("GET", path, Some(&subject(&world.actor)), "");
    let answer = receive(import_jobs::handle(world.app.clone(), answer).await);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_shows_the_warnings_of_all_its_files_and_a_check_shows_the_same() {
    let world = World::new().await;
    let keys = [
        world.upload("a.csv", "code,points\nA-1,1\nTOTAL\nNULL,2\nA-2,x\n"),
        world.upload("b.csv", "code,points\nB-1,1\n"),
        world.upload("c.csv", "code,points\nC-1\nC-2\nC-3,x\n,1\n"),
    ];
    let checked = world.check(&keys).await;

    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut run = world.import_objects(&names);
    run.until(State::WaitForApproval).await.expect(State::WaitForApproval);
    let job = get(&world, &format!("/imports/{}", run.job)).await;
    assert_eq!(
        job["warnings"],
        json!([
            { "reason": "absent_columns", "count": 21, "files": 3, "first": { "file": keys[0], "line": 1,
              "sample": "serial, sku, sku_name, batch_code, price, window_start, window_end" } },
            { "reason": "null_like_code", "count": 1, "files": 1,
              "first": { "file": keys[0], "line": 4, "sample": "NULL" } },
            { "reason": "short_records", "count": 3, "files": 2,
              "first": { "file": keys[0], "line": 3, "sample": "TOTAL" } },
        ])
    );
    assert_eq!(job["rejected_by_reason"], json!({ "empty_code": 1, "invalid_points": 2 }));
    let files = get(&world, &format!("/imports/{}/files", run.job)).await;
    for (file, checked) in files["files"].as_array().unwrap().iter().zip(checked["files"].as_array().unwrap())
    {
        assert_eq!(file["key"], checked["key"]);
        assert_eq!(file["warnings"], checked["warnings"]);
        assert_eq!(file["rejected_by_reason"], checked["rejected_by_reason"]);
    }
    assert_eq!(files["files"][1]["rejected_by_reason"], json!({}));
    assert_eq!(
        files["files"][2]["warnings"][1],
        json!({ "reason": "short_records", "count": 2, "line": 2, "sample": "C-1" })
    );
    let page = get(&world, &format!("/imports?merchant_id={}", world.merchant)).await;
    assert_eq!(page["imports"][0]["warnings"], job["warnings"]);
}
