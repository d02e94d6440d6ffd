//! A retry repeats what was asked: the same request, read as strictly, or nothing.

use import_jobs::decide::Decision;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::step::StepErrorKind;

pub(super) async fn find_job(world: &World, run: &Run) -> JobId {
    let sql = format!(
        "SELECT to_jsonb(id) FROM onceload.codes_import_jobs WHERE execution_arn = '{}'",
        run.execution_arn
    );
    serde_json::from_str(&world.db.value(&sql).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_refused_is_refused_again() {
    let world = World::new().await;
    let m = world.merchant;
    // Both columns are there: an import that forgot the mapping would take the wrong one.
    let key = world.upload("a.csv", "code,Voucher,points\nWRONG,RIGHT,1\n");
    let manifest = world.key_under_stage("b/manifest.json");
    world.s3.put(&manifest, r#"{"files": ["../a.csv"]}"#);
    let cases = [
        json!({ "merchant_id": m, "files": [key], "mapping": { "code": "Voucher", "points": 5 } }),
        json!({ "merchant_id": m, "files": [key], "maping": { "code": "Voucher" } }),
        json!({ "merchant_id": m, "files": [key], "dry_run": true }),
        json!({ "merchant_id": m, "files": [key], "options": { "max_duplicate_ratio": 0, "force": true } }),
        json!({ "merchant_id": m, "files": [key], "options": { "max_duplicate_ratio": 0 }, "strict": 1 }),
        json!({ "merchant_id": m, "files": [key], "mapping": { "code": "a\u{0}b" } }),
        json!({ "merchant_id": m, "files": [key], "x\u{0}": 1 }),
        json!({ "merchant_id": m, "files": [key], "note": "x".repeat(70_000) }),
        json!({ "merchant_id": m, "files": [key], "mapping": { "code": "Voucher", "serial": "Voucher" } }),
        // Members that look like our own.
        json!({ "merchant_id": m, "files": [key], "manifest": manifest }),
        json!({ "merchant_id": m, "files": [key], "refused": "no", "door": "s3" }),
    ];
    for input in cases {
        let mut run = Run::new(&world.app, input.clone());
        let error = run.until(State::InsertCodes).await.error();
        assert_eq!(error.kind, StepErrorKind::InvalidInput, "{input}: {error}");
        run.job = find_job(&world, &run).await;
        assert_eq!(world.read_status(run.job).await, "failed", "{input}");
        assert!(matches!(run.retry(&world.actor).await, Decision::Taken { .. }), "{input}");
        let mut again = Run::of_job(&world.app, run.job, 2);
        let repeated = again.until(State::InsertCodes).await.error();
        assert_eq!((repeated.kind, &repeated.message), (error.kind, &error.message), "{input}");
        assert_eq!(world.read_status(run.job).await, "failed", "{input}");
    }
    assert_eq!(world.count_codes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_keeps_the_mapping_and_the_options() {
    let world = World::new().await;
    let key = world.key_under_stage("late.csv");
    let input = json!({ "merchant_id": world.merchant, "files": [key],
                        "mapping": { "code": "Voucher" }, "options": { "max_duplicate_ratio": 0 } });
    let mut run = Run::new(&world.app, input);
    let error = run.until(State::InsertCodes).await.error();
    assert!(error.message.contains("missing_object"), "{error}");
    run.job = find_job(&world, &run).await;
    world.s3.put(&key, "code,Voucher\nWRONG,RIGHT\nWRONG2,RIGHT\n");
    run.retry(&world.actor).await;
    let mut again = Run::of_job(&world.app, run.job, 2);
    again.until(State::InsertCodes).await.expect(State::InsertCodes);
    let job: Value = world.read_job(run.job).await;
    assert_eq!((&job["blocked"], &job["total_codes_to_insert"]), (&json!(true), &json!(1)), "{job:#}");
    assert!(matches!(again.decide_approval(&world.actor, 1, true).await, Decision::Taken { .. }));
    again.until(State::Done).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes").await, ["RIGHT"]);
}
