//! Names under `import/` and in folders: whatever somebody uploads becomes an import, or a job that says why it is none.

use import_jobs::check::check_source;
use onceload_tests::execution::upload_event;
use onceload_tests::objects::BUCKET;
use onceload_tests::{Run, State, World};
use serde_json::{Value, json};
use shared::domain::source::StartRequest;
use shared::domain::step::StepErrorKind;
use std::time::Duration;

/// The source and the error of the only job of this execution.
async fn read_job_of(world: &World, run: &Run) -> Value {
    let sql = format!(
        "SELECT to_jsonb(j) FROM onceload.codes_import_jobs j WHERE execution_arn = '{}'",
        run.execution_arn
    );
    serde_json::from_str(&world.db.value(&sql).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_any_letters_and_any_folder_is_an_import() {
    let world = World::new().await;
    let names = ["A.CSV", "b.tsv", "C.Txt", "sub/folder/d.csv", "ä ö.csv"];
    for (number, name) in names.iter().enumerate() {
        let key = world.key_under_import(name);
        let version = world.s3.put(&key, format!("code\nC{number}\n"));
        Run::of_upload(&world.app, &key, &version).finish(&world.actor).await.expect(State::Done);
    }
    let key = world.key_under_import("e.CSV.gz");
    let version = world.s3.put(&key, onceload_tests::files::gzip(b"code\nC5\n"));
    Run::of_upload(&world.app, &key, &version).finish(&world.actor).await.expect(State::Done);
    assert_eq!(
        world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await,
        ["C0", "C1", "C2", "C3", "C4", "C5"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_no_import_is_a_failed_job_that_says_why() {
    let world = World::new().await;
    let m = world.merchant;
    let capitals = m.to_string().to_uppercase();
    let cases = [
        (format!("import/{m}/codes.zip"), "unknown_name", "ends in .csv"),
        (format!("import/{m}/codes.csv.bak"), "unknown_name", "ends in .csv"),
        (format!("import/{m}/README"), "unknown_name", "ends in .csv"),
        (format!("import/{m}/b/manifest.json"), "manifest", "stage/"),
        (format!("stage/{m}/manifest.json"), "manifest", "in a folder"),
        (format!("import/{m}//x.csv"), "key_outside_merchant", "empty"),
        (format!("import/{m}/./x.csv"), "key_outside_merchant", "segment"),
        (format!("import/{m}/../x.csv"), "key_outside_merchant", "segment"),
        (format!("import/{m}/x\t.csv"), "key_outside_merchant", "control character"),
        (format!("import/{m}/x\0.csv"), "key_outside_merchant", "control character"),
        (format!("import/{m}"), "key_outside_merchant", "must begin with"),
        (format!("import/{capitals}/x.csv"), "key_outside_merchant", &m.to_string()),
    ];
    for (key, reason, advice) in cases {
        let event = upload_event(BUCKET, &key, "v1");
        let mut run = Run::new(&world.app, event.clone());
        let error = run.until(State::InsertCodes).await.error();
        assert_eq!(error.kind, StepErrorKind::InvalidInput, "{key:?}: {error}");
        let job = read_job_of(&world, &run).await;
        assert_eq!(job["status"], "failed", "{job:#}");
        let says = job["error_message"].as_str().unwrap();
        assert!(says.contains(reason) && says.contains(advice), "{key:?}: {says}");
        assert!(!says.contains(char::is_control), "{says:?}");
        let shown = job["source_info"]["files"][0].as_str().unwrap();
        assert!(shown == key || shown == key.escape_debug().to_string(), "{shown}");
        // The event comes twice: one job.
        Run::new(&world.app, event).until(State::Done).await.expect(State::NothingToDo);
        // Repeating what can't be imported imports nothing.
        let run = Run { job: serde_json::from_value(job["id"].clone()).unwrap(), ..run };
        run.retry(&world.actor).await;
        let again = Run::of_job(&world.app, run.job, 2).until(State::InsertCodes).await.error();
        assert_eq!(again.message, error.message);
    }
    assert_eq!(world.count_codes().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tools_leave_behind_is_passed_over() {
    let world = World::new().await;
    let m = world.merchant;
    for name in ["", "sub/", "sub_$folder$", ".DS_Store", "sub/.DS_Store", "._a.csv", "_SUCCESS"] {
        let mut run = Run::new(&world.app, upload_event(BUCKET, &format!("import/{m}/{name}"), "v1"));
        run.until(State::Done).await.expect(State::NothingToDo);
    }
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.codes_import_jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_lists_what_it_passes_over_and_fails_with_files_that_nobody_can_name() {
    let world = World::new().await;
    for marker in ["b/", "b/.DS_Store", "b/._a.csv", "b/_SUCCESS", "b/sub_$folder$"] {
        world.upload(marker, "");
    }
    let manifest = world.key_under_stage("b/manifest.json");
    world.upload("b/a.csv", "code\nA\n");
    world.upload("b/sub/C.TSV", "code\tsku\nC\t1\n");
    let passed_over =
        json!([world.key_under_stage("b/"), "._a.csv", ".DS_Store", "_SUCCESS", "sub_$folder$"]);
    let sorted = |names: &Value| {
        let mut names: Vec<String> = serde_json::from_value(names.clone()).unwrap();
        names.sort();
        names
    };

    // A manifest without `files` and a prefix mean the same files.
    let version = world.s3.put(&manifest, "{}");
    let mut run = Run::of_upload(&world.app, &manifest, &version);
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let job = read_job_of(&world, &run).await;
    assert_eq!(sorted(&job["source_info"]["passed_over"]), sorted(&passed_over), "{job:#}");
    run.approve(&world.actor).await;
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(world.db.column("SELECT code FROM onceload.codes ORDER BY 1").await, ["A", "C"]);

    // A file with another name is a fault of that file.
    world.upload("b/notes.docx", "anything");
    let prefix = world.key_under_stage("b/");
    let mut run = Run::new(&world.app, json!({ "merchant_id": world.merchant, "prefix": prefix }));
    let error = run.until(State::InsertCodes).await.error();
    assert_eq!(error.kind, StepErrorKind::FileRejected);
    assert!(
        error.message.contains("1 of 3 files rejected") && error.message.contains("notes.docx: unknown_name"),
        "{error}"
    );
    let job = read_job_of(&world, &run).await;
    assert_eq!(job["validation_errors"][0]["reason"], "unknown_name", "{job:#}");
    let files = "SELECT key, status, error_reason FROM onceload.import_files WHERE job_id = '";
    let files = world.db.rows(&format!("{files}{}' ORDER BY 1", job["id"].as_str().unwrap())).await;
    assert_eq!(files.len(), 3);
    assert_eq!(files[1], [world.key_under_stage("b/notes.docx"), "failed".into(), "unknown_name".into()]);

    let request: StartRequest =
        serde_json::from_value(json!({ "merchant_id": world.merchant, "prefix": prefix })).unwrap();
    let checked = check_source(&world.app, request.check().unwrap(), Duration::from_secs(20)).await.unwrap();
    assert_eq!(sorted(&checked["passed_over"]), sorted(&passed_over));
    assert_eq!(checked["totals"]["faults"], 1);
    let fault =
        &checked["files"].as_array().unwrap().iter().find(|file| file["fault"].is_object()).unwrap()["fault"];
    assert_eq!(fault["reason"], "unknown_name");

    // Who names the file by hand says what it is.
    world.upload("b/codes.dat", "code\nD\n");
    let mut run = world.import_objects(&[&world.key_under_stage("b/codes.dat")]);
    run.finish(&world.actor).await.expect(State::Done);
}
