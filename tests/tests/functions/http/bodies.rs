//! Bodies of requests, at every route: a member given twice, characters that can't be stored, a byte order mark.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::Request;
use onceload_tests::fixture::subject;
use onceload_tests::http::{Response, receive, request};
use onceload_tests::{State, World};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use shared::http::Answer;
use shared::lambda::App;

async fn send(app: App, request: Request) -> Answer {
    match request.uri().path() {
        "/imports/queue-processing" => queue_processing::handle(app, request).await,
        "/migrations/run" => run_migration::handle(app, request).await,
        "/communities" => create_community::handle(app, request).await,
        _ => import_jobs::handle(app, request).await,
    }
}

async fn post(world: &World, path: &str, body: &str) -> Response {
    let request = request("POST", path, Some(&subject(&world.actor)), body);
    receive(send(world.app.clone(), request).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_given_twice_is_a_bad_request_that_names_it() {
    let world = World::new().await;
    let m = world.merchant;
    let key = world.upload("a.csv", "code\nA\nB\n");
    let run = world.import_until_approval("b.csv", "code\nA\n").await;
    let job = format!("/imports/{}", run.job);
    for (path, body, member) in [
        (
            format!("{job}/approve"),
            r#"{"confirm":"YES","clean_count":999,"clean_count":1}"#.into(),
            "clean_count",
        ),
        (format!("{job}/exports"), r#"{"kind":"report","kind":"rejects"}"#.into(), "kind"),
        (
            "/imports/queue-processing".into(),
            format!(r#"{{"merchant_id":"{m}","files":["{key}"],"files":["{key}"]}}"#),
            "files",
        ),
        (
            "/imports/queue-processing".into(),
            format!(
                r#"{{"merchant_id":"{m}","files":["{key}"],"options":{{"max_rejects":1,"max_rejects":2}}}}"#
            ),
            "options.max_rejects",
        ),
        (
            "/migrations/run".into(),
            format!(r#"{{"merchant_id":"{m}","file":"{key}","mapping":{{"code":"x","code":"code"}}}}"#),
            "mapping.code",
        ),
        (
            "/imports/check".into(),
            format!(r#"{{"merchant_id":"{m}","merchant_id":"{m}","files":["{key}"]}}"#),
            "merchant_id",
        ),
        ("/uploads".into(), format!(r#"{{"merchant_id":"{m}","name":"a.csv","size":1,"size":2}}"#), "size"),
        ("/communities".into(), r#"{"name":"A","name":"B"}"#.into(), "name"),
    ] {
        let answer = post(&world, &path, &body).await;
        assert_eq!(answer.problem(), (400, "-"), "{path}: {answer:?}");
        assert_eq!(answer.body["type"], "urn:onceload:problem:bad-request");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("member `{member}` stands there twice")), "{path}: {detail}");
    }
    assert_eq!(world.read_status(run.job).await, "awaiting_approval");
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.communities").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_character_that_cannot_be_stored_is_named_by_its_pointer() {
    let world = World::new().await;
    let m = world.merchant;
    let key = world.upload("a.csv", "code\nA\n");
    for (path, body, pointer) in [
        (
            "/imports/queue-processing",
            json!({ "merchant_id": m, "files": [key], "mapping": { "code": "a\0b" } }),
            "/mapping/code",
        ),
        ("/imports/queue-processing", json!({ "merchant_id": m, "files": [key, "a\0b"] }), "/files/1"),
        (
            "/imports/queue-processing",
            json!({ "merchant_id": m, "files": [key], "mapping": { "co\0de": "x" } }),
            "/mapping/co\\u0000de",
        ),
        (
            "/migrations/run",
            json!({ "merchant_id": m, "file": key, "mapping": { "code": "\0" } }),
            "/mapping/code",
        ),
        ("/imports/check", json!({ "merchant_id": m, "prefix": format!("stage/{m}/\0") }), "/prefix"),
        ("/uploads", json!({ "merchant_id": m, "name": "a\0.csv", "size": 1 }), "/name"),
        ("/communities", json!({ "name": "a\0b" }), "/name"),
        ("/communities", json!({ "name": "a", "description": "\0" }), "/description"),
        (
            "/imports/queue-processing",
            json!({ "merchant_id": m, "files": [key], "mapping": { "code": "Voucher", "serial": " Voucher" } }),
            "/mapping/serial",
        ),
        (
            "/migrations/run",
            json!({ "merchant_id": m, "file": key, "mapping": { "code": "Voucher", "serial": "Voucher" } }),
            "/mapping/serial",
        ),
    ] {
        let answer = post(&world, path, &body.to_string()).await;
        assert_eq!(answer.problem(), (422, pointer), "{path} {body}: {answer:?}");
    }
    let member = post(
        &world,
        "/imports/queue-processing",
        &json!({ "merchant_id": uuid::Uuid::nil(), "files": ["\0"] }).to_string(),
    )
    .await;
    assert_eq!(member.status, 404, "membership comes first: {member:?}");
    // A tag is left out, and the community is there.
    let made = post(&world, "/communities", &json!({ "name": "Tea", "tags": ["a\0b"] }).to_string()).await;
    assert_eq!((made.status, &made.body["warnings"][0]["pointer"]), (201, &json!("/tags/0")), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_passed_over_and_another_encoding_is_named() {
    let world = World::new().await;
    let run = world.import_until_approval("b.csv", "code\nA\n").await;
    let path = format!("/imports/{}/approve", run.job);
    let utf16: Vec<u8> =
        r#"{"confirm":"YES","clean_count":1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = post(&world, &path, std::str::from_utf8(&utf16).unwrap()).await;
    assert!(utf16.status == 400 && utf16.body["detail"].as_str().unwrap().contains("UTF-16"), "{utf16:?}");
    let marked = post(&world, &path, "\u{feff}{\"confirm\":\"YES\",\"clean_count\":1}").await;
    assert_eq!(marked.status, 202, "{marked:?}");
    let mut run = run;
    run.until(State::Done).await.expect(State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_given_twice_and_a_cursor_of_another_age_are_refused() {
    let world = World::new().await;
    let get = async |query: &str| {
        let path = format!("/imports?{query}");
        receive(send(world.app.clone(), request("GET", &path, Some(&subject(&world.actor)), "")).await)
    };
    let twice = get("status=failed&status=completed").await;
    assert_eq!(twice.problem(), (400, "-"), "{twice:?}");
    assert!(twice.body["detail"].as_str().unwrap().contains("`status`"), "{twice:?}");
    for year in ["-262143", "+010000", "0000"] {
        let cursor = json!({ "created_at": format!("{year}-01-01T00:00:00Z"), "id": uuid::Uuid::nil() });
        let cursor = URL_SAFE_NO_PAD.encode(cursor.to_string());
        assert_eq!(get(&format!("cursor={cursor}")).await.problem(), (422, "/cursor"), "{year}");
    }
}

/// Whatever stands in a cursor, the server stays whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_cursor_is_never_a_server_error() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\n").await;
    let files = format!("/imports/{}/files", run.job);
    let date = "([-+][0-9]{5,6}|[0-9]{4})-(0[1-9]|1[0-3])-([0-2][0-9]|3[0-2])";
    let time = "T([01][0-9]|2[0-4]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,12})?(Z|[-+]([01][0-9]|2[0-4]):[0-5][0-9])";
    let moment = (date, time, any::<u128>()).prop_map(
        |(date, time, id)| json!({ "created_at": format!("{date}{time}"), "id": uuid::Uuid::from_u128(id) }),
    );
    let forged = prop_oneof![
        4 => moment,
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => ".{0,12}".prop_map(|text| json!(text)),
        1 => ".{0,12}".prop_map(|text| json!({ "created_at": text, "id": null })),
    ];
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    let forged = prop_oneof![
        4 => forged.prop_map(|value| URL_SAFE_NO_PAD.encode(value.to_string())),
        1 => bytes.prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes)),
        1 => "[-_a-zA-Z0-9]{0,40}",
    ];
    let mut runner = TestRunner::deterministic();
    let mut taken = 0;
    for _ in 0..400 {
        let cursor = forged.new_tree(&mut runner).unwrap().current();
        for path in ["/imports", &files] {
            let path = format!("{path}?cursor={cursor}");
            let request = request("GET", &path, Some(&subject(&world.actor)), "");
            let answer = receive(send(world.app.clone(), request).await);
            assert!(answer.status == 200 || answer.problem() == (422, "/cursor"), "{path}: {answer:?}");
            taken += u32::from(answer.status == 200);
        }
    }
    assert!(taken > 20, "some forgeries are well formed: {taken}");
}
