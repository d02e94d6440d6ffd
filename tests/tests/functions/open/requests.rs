//! Invalid requests and manifests: the error names the fault, and a job shows it if the merchant is known.

use onceload_tests::execution::upload_event;
use onceload_tests::objects::BUCKET;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::step::StepErrorKind;

/// Runs a request that must fail and returns the error's message, which its job must show.
async fn assert_refused(world: &World, input: Value, kind: StepErrorKind) -> String {
    let mut run = Run::new(&world.app, input.clone());
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, kind, "{input}: {error}");
    let sql = format!(
        "SELECT status || ' ' || error_message || ' ' || validation_errors FROM onceload.codes_import_jobs WHERE execution_arn = '{}'",
        run.execution_arn
    );
    let shown = world.db.column(&sql).await;
    assert_eq!(shown.len(), 1, "{input}: no job shows `{error}`");
    assert!(shown[0].starts_with("failed ") && shown[0].contains(&error.message), "{shown:?}");
    assert!(!shown[0].ends_with(" []"), "validation_errors is filled: {shown:?}");
    error.message
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_fail_their_job_and_name_the_fault() {
    let world = World::new().await;
    let m = world.merchant;
    let other = onceload_tests::fixture::add_merchant(&world.db, "Other").await;
    let own = world.upload("a.csv", "code\nA\n");
    world.s3.put(&format!("stage/{other}/b.csv"), "code\nTHEIRS\n");
    let many: Vec<String> = (0..2001).map(|i| format!("stage/{m}/many/{i}.csv")).collect();
    let cases = [
        (json!({ "merchant_id": m }), "neither"),
        (json!({ "merchant_id": m, "files": [own], "prefix": format!("stage/{m}/") }), "both"),
        (json!({ "merchant_id": m, "files": [] }), "empty"),
        (json!({ "merchant_id": m, "files": [own, own] }), "twice"),
        (json!({ "merchant_id": m, "files": many }), "2000"),
        (json!({ "merchant_id": m, "files": "a.csv" }), "files"),
        (json!({ "merchant_id": m, "files": [own], "colour": "red" }), "colour"),
        (
            json!({ "merchant_id": m, "files": [own], "options": { "max_rejects": 1, "force": true } }),
            "force",
        ),
        (
            json!({ "merchant_id": m, "files": [own], "options": { "max_duplicate_ratio": 1.5 } }),
            "max_duplicate_ratio",
        ),
        (json!({ "merchant_id": m, "files": [own], "options": { "max_rejects": -1 } }), "max_rejects"),
        (json!({ "merchant_id": m, "files": [own], "mapping": { "voucher": "code" } }), "voucher"),
        (json!({ "merchant_id": m, "files": [own], "mapping": { "code": "" } }), "code"),
        (json!({ "merchant_id": m, "files": [format!("stage/{other}/b.csv")] }), "key_outside_merchant"),
        (json!({ "merchant_id": m, "prefix": format!("stage/{other}/") }), "key_outside_merchant"),
        (
            json!({ "merchant_id": m, "files": [format!("stage/{m}/../{other}/b.csv")] }),
            "key_outside_merchant",
        ),
        (json!({ "merchant_id": m, "prefix": format!("stage/{m}/../{other}/") }), "key_outside_merchant"),
        (json!({ "merchant_id": m, "files": [format!("stage/{m}//b.csv")] }), "key_outside_merchant"),
        (json!({ "merchant_id": m, "prefix": format!("stage/{m}") }), "key_outside_merchant"),
        (json!({ "merchant_id": m, "files": [format!("reports/{m}/b.csv")] }), "key_outside_merchant"),
        (
            json!({ "merchant_id": m, "files": [format!("stage/{m}/{}", "x".repeat(1100))] }),
            "key_outside_merchant",
        ),
        (json!({ "merchant_id": m, "files": [format!("stage/{m}/a\n.csv")] }), "control character"),
        (json!({ "merchant_id": m, "files": [format!("stage/{m}/folder/")] }), "folder"),
        (json!({ "merchant_id": m, "prefix": format!("stage/{m}/nothing-here/") }), "no file under"),
    ];
    for (input, word) in cases {
        let message = assert_refused(&world, input.clone(), StepErrorKind::InvalidInput).await;
        assert!(message.contains(word), "{input}: {message}");
        assert!(!message.contains("THEIRS") && !message.contains("SELECT"), "{message}");
    }
    let missing = json!({ "merchant_id": m, "files": [own, format!("stage/{m}/gone.csv")] });
    let message = assert_refused(&world, missing, StepErrorKind::FileRejected).await;
    assert!(message.contains("missing_object") && message.contains("gone.csv"), "{message}");
    assert_eq!(world.count_codes().await, 0);
    assert_eq!(
        world.db.int("SELECT count(*) FROM onceload.codes_import_jobs WHERE leased").await,
        0,
        "nothing is left running"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_with_more_files_than_a_job_takes_is_rejected() {
    let world = World::new().await;
    for i in 0..2001 {
        world.upload(&format!("many/{i:04}.csv"), "code\nA\n");
    }
    let input = json!({ "merchant_id": world.merchant, "prefix": world.key_under_stage("many/") });
    let message = assert_refused(&world, input, StepErrorKind::InvalidInput).await;
    assert!(message.contains("2000") && message.contains("split"), "{message}");
}

/// Without a known merchant no job can show the error; only the execution has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_known_merchant_creates_no_job() {
    let world = World::new().await;
    let nobody = uuid::Uuid::now_v7();
    let inputs = [
        json!(null),
        json!([1]),
        json!("stage"),
        json!({}),
        json!({ "files": ["a"] }),
        json!({ "merchant_id": "42", "files": ["a"] }),
        json!({ "merchant_id": nobody, "files": [format!("stage/{nobody}/a.csv")] }),
        json!({ "detail": {} }),
        json!({ "job_id": nobody, "attempt": 1 }),
        json!({ "job_id": nobody }),
        upload_event(BUCKET, &format!("import/{nobody}/a.csv"), "v1"),
        upload_event(BUCKET, "import/not-a-uuid/a.csv", "v1"),
        upload_event(BUCKET, "import/a.csv", "v1"),
        upload_event("another-bucket", &world.key_under_import("a.csv"), "v1"),
    ];
    for input in inputs {
        let mut run = Run::new(&world.app, input.clone());
        let error = run.until(State::InsertCodes).await.error();
        assert_eq!(error.kind, StepErrorKind::InvalidInput, "{input}: {error}");
        assert!(!error.message.is_empty());
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_validated_and_their_options_apply() {
    let world = World::new().await;
    world.upload("b/a.csv", "code\nA\n");
    let manifest = world.key_under_stage("b/manifest.json");
    let cases = [
        ("{", "manifest.json"),
        ("[]", "manifest.json"),
        (r#"{"files": ["a.csv"], "colour": 1}"#, "colour"),
        (r#"{"files": ["a.csv"], "options": {"force": true}}"#, "force"),
        (r#"{"files": []}"#, "empty"),
        (r#"{"files": ["../other/a.csv"]}"#, "key_outside_merchant"),
        (r#"{"files": ["/a.csv"]}"#, "key_outside_merchant"),
        (r#"{"files": ["a.csv", "gone.csv"]}"#, "missing_object"),
        (r#"{"files": ["a.csv"], "mapping": {"colour": "x"}}"#, "colour"),
    ];
    for (text, word) in cases {
        let version = world.s3.put(&manifest, text);
        let mut run = Run::of_upload(&world.app, &manifest, &version);
        let error = run.until(State::InsertCodes).await.error();
        assert!(error.message.contains(word), "{text}: {error}");
        let sql = format!(
            "SELECT error_message FROM onceload.codes_import_jobs WHERE execution_arn = '{}'",
            run.execution_arn
        );
        assert_eq!(world.db.value(&sql).await, error.message);
    }
    // A manifest without `files` means every file beside it.
    world.upload("b/c.csv", "code\nC\n");
    let version = world.s3.put(&manifest, "{}");
    let mut run = Run::of_upload(&world.app, &manifest, &version);
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await, ["A", "C"]);
    // The manifest's options and mapping apply.
    world.upload("d/a.csv", "Voucher,points\nV,1\nW,x\nX,y\n");
    let manifest = world.key_under_stage("d/manifest.json");
    let version =
        world.s3.put(&manifest, r#"{"mapping": {"code": "voucher"}, "options": {"max_rejects": 1}}"#);
    let mut run = Run::of_upload(&world.app, &manifest, &version);
    let error = run.until(State::InsertCodes).await.error();
    assert!(error.message.contains("too_many_rejects"), "{error}");
}
