//! Whatever bytes a file has, a check says of it what its import does: the same fault, or the same counts, rejects and
//! warnings.

use onceload_tests::{State, World};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Pieces that mean something to a reader of CSV, and others.
const PIECES: [&[u8]; 30] = [
    b"code",
    b"points",
    b"sku",
    b"merchant_id",
    b",",
    b",",
    b",",
    b";",
    b"\t",
    b"\n",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\"",
    b"\"",
    b"\"\"",
    b"\\",
    b"\\.",
    b"A",
    b"B2",
    b"17",
    b"-1",
    b" ",
    b"\x1a",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    "\u{e9}\u{301}".as_bytes(),
    b"NULL",
];
const FILES: usize = 60;

fn files() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::collection::vec(proptest::sample::select(&PIECES[..]), 1..40);
    const HEADERS: [&[u8]; 5] = [b"", b"code\n", b"code,points,sku\n", b"code;sku\r\n", b"\"code\",sku\r"];
    (proptest::sample::select(&HEADERS[..]), pieces)
        .prop_map(|(header, pieces)| [header, &pieces.concat()].concat())
}

async fn check(world: &World, key: &str) -> Value {
    let checked = world.check(&[key.to_owned()]).await;
    checked["files"][0].clone()
}

/// The first fault of the import's file, and what was counted in it.
async fn import(world: &World, key: &str) -> Value {
    let mut run = world.import_objects(&[key]);
    let ended = run.until(State::PlanChunks).await;
    let sql = format!(
        "SELECT jsonb_build_object('fault', error_reason, 'records', records, 'staged', staged, 'rejected', rejected,
                'skipped', skipped, 'warnings', warnings, 'rejected_by_reason', rejected_by_reason,
                'rejects', (SELECT coalesce(jsonb_agg(jsonb_build_array(record_number, line_number, reason, detail)
                                                      ORDER BY record_number), '[]')
                              FROM onceload.import_rejects r WHERE r.job_id = f.job_id))::text
           FROM onceload.import_files f WHERE key = '{key}'"
    );
    let found = world.db.rows(&sql).await;
    let found = found.first().unwrap_or_else(|| panic!("{ended:?}"));
    run.close_caught("FileRejected", "the test is over").await.expect("closed");
    serde_json::from_str(&found[0]).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_of_any_bytes_what_an_import_does() {
    let world = World::new().await;
    let mut runner = TestRunner::default();
    let (mut faults, mut rejects, mut staged) = (0, 0, 0);
    for number in 0..FILES {
        let bytes = files().new_tree(&mut runner).unwrap().current();
        let key = world.upload(&format!("{number:03}.csv"), bytes.clone());
        let text = String::from_utf8_lossy(&bytes);
        let (checked, imported) = (check(&world, &key).await, import(&world, &key).await);
        if !checked["fault"].is_null() {
            assert_eq!(checked["fault"]["reason"], imported["fault"], "{text:?}");
            faults += 1;
            continue;
        }
        assert_eq!(imported["fault"], Value::Null, "{text:?}");
        assert_eq!(checked["records"], json!({ "count": imported["records"], "exact": true }), "{text:?}");
        for member in ["staged", "rejected", "skipped", "warnings", "rejected_by_reason"] {
            assert_eq!(checked[member], imported[member], "{member} of {text:?}");
        }
        let shown: Vec<Value> = checked["rejects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reject| {
                json!([reject["record_number"], reject["line"], reject["reason"], reject["detail"]])
            })
            .collect();
        let kept = imported["rejects"].as_array().unwrap();
        assert_eq!(shown, kept[..kept.len().min(20)], "{text:?}");
        rejects += kept.len();
        staged += imported["staged"].as_i64().unwrap();
    }
    assert!(faults > 3 && rejects > 10 && staged > 10, "{faults} faults, {rejects} rejects, {staged} rows");
}
