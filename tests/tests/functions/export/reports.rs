//! Exports of duplicates and of the report: their contents, when they are allowed, and that no partial file appears.

use crate::process::Process;
use import_jobs::decide::Decision;
use import_jobs::maintain::Asked;
use onceload_tests::fixture::{add_member, add_merchant};
use onceload_tests::maintenance::{MaintenanceTask, request_maintenance};
use onceload_tests::reports::{parse_records, read_gzip};
use onceload_tests::{Maintenance, Run, State, World};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::{StepErrorKind, StepResult};
use shared::domain::task::ExportKind;
use std::fmt::Write;
use tokio::task::JoinHandle;

const DUPLICATES: Maintenance = Maintenance::Export(ExportKind::Duplicates);
const REPORT: Maintenance = Maintenance::Export(ExportKind::Report);
const HEADER: &str = "code,serial,sku,points,sku_name,batch_code,price,window_start,window_end,merchant_id";

fn list_reports(world: &World) -> Vec<String> {
    world.s3.keys().into_iter().filter(|key| key.starts_with("reports/")).collect()
}

fn report_key(world: &World, job: JobId, name: &str) -> String {
    format!("reports/{}/{job}/{name}", world.merchant)
}

async fn export_records(world: &World, run: &Run, what: Maintenance, name: &str) -> Vec<Vec<String>> {
    let result = world.run_task(run.job, what).await;
    let key = report_key(world, run.job, name);
    assert_eq!(result["files"][0]["key"], json!(key));
    assert_eq!(result["files"][0]["bytes"], json!(world.s3.get(&key).unwrap().len()));
    let records = parse_records(read_gzip(world, &key)).await;
    assert_eq!(result["rows"], json!(records.len() - 1));
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_report_state_what_became_of_each_row() {
    let world = World::new().await;
    world.add_codes(&["OLD", "BOTH"]).await;
    let first = world.upload(
        "1.csv",
        "code,serial,sku,points,sku_name,batch_code,price,window_start\n\
         NEW,=1+1,+49,-5,\"a \"\"b\"\", c\",@x,-1.50,2026-01-02\n\
         OLD,-5,,,,,,\n\
         TWICE,s1,,,,,,\n\
         BOTH,,,,,,,\n",
    );
    let second = world.upload(
        "2.csv",
        "code;serial\nTWICE;\"\tx\"\nBOTH;\"line\nbreak\"\n-MINUS;ok\nÄ€;\"\"\nLATE;\n".as_bytes().to_vec(),
    );
    let mut run = world.import_objects(&[&first, &second]);
    run.finish(&world.actor).await.expect(State::Done);
    world.abandon_tasks().await;
    // Simulate an insert that has met a late duplicate.
    let hex = run.job.0.simple();
    world
        .db
        .exec(&format!(
            "DELETE FROM onceload.codes WHERE code = 'LATE';
             INSERT INTO onceload_staging.d_{hex}_00 SELECT row_number, ctid, 4 FROM onceload_staging.b_{hex}_00 WHERE code = 'LATE';
             UPDATE onceload.import_chunks SET late_duplicates = 1;
             UPDATE onceload.codes_import_jobs SET late_duplicates = 1, codes_inserted = 4"
        ))
        .await;

    let report = export_records(&world, &run, REPORT, "report.csv.gz").await;
    assert_eq!(report[0].join(","), format!("{HEADER},status"));
    let merchant = world.merchant.to_string();
    let mut seen: Vec<(&str, &str)> = report[1..].iter().map(|r| (r[0].as_str(), r[10].as_str())).collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            ("'-MINUS", "CLEAN"),
            ("BOTH", "BOTH_DUPLICATE"),
            ("BOTH", "DATABASE_DUPLICATE"),
            ("LATE", "LATE_DUPLICATE"),
            ("NEW", "CLEAN"),
            ("OLD", "DATABASE_DUPLICATE"),
            ("TWICE", "CLEAN"),
            ("TWICE", "INTERNAL_DUPLICATE"),
            ("Ä€", "CLEAN"),
        ]
    );
    let new = report.iter().find(|record| record[0] == "NEW").unwrap();
    assert_eq!(
        new[1..],
        [
            "'=1+1",
            "'+49",
            "-5",
            "a \"b\", c",
            "'@x",
            "-1.50",
            "2026-01-02 00:00:00+00",
            "",
            &merchant,
            "CLEAN"
        ],
        "formulas are escaped, numbers are not"
    );

    let duplicates = export_records(&world, &run, DUPLICATES, "duplicates.csv.gz").await;
    assert_eq!(duplicates[0].join(","), format!("{HEADER},internal_dup,existing_dup,duplicate_type"));
    let rows: Vec<Vec<&str>> = duplicates[1..]
        .iter()
        .map(|r| vec![r[0].as_str(), r[1].as_str(), r[10].as_str(), r[11].as_str(), r[12].as_str()])
        .collect();
    assert_eq!(
        rows,
        [
            ["OLD", "'-5", "false", "true", "DATABASE_DUPLICATE"],
            ["BOTH", "", "false", "true", "DATABASE_DUPLICATE"],
            ["TWICE", "'\tx", "true", "false", "INTERNAL_DUPLICATE"],
            ["BOTH", "line\nbreak", "true", "true", "BOTH_DUPLICATE"],
            ["LATE", "", "false", "false", "LATE_DUPLICATE"],
        ],
        "in the order of the files and their records"
    );
}

/// Staging has several buckets, and one of them several chunks.
#[tokio::test(flavor = "multi_thread")]
async fn every_bucket_and_chunk_is_exported_once() {
    let world = World::new().await;
    let mut text = String::from("code\n");
    for i in 0..3_000u32 {
        let _ = writeln!(text, "{:05}", i % 2_000);
    }
    let mut run = world.import_file("a.csv", text);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&world.db, &["00300", "00900", "01500"]).await;
    run.finish(&world.actor).await.expect(State::Done);
    assert_eq!(run.chunks.len(), 4);
    world.abandon_tasks().await;
    // Split the last bucket's chunk into two, as if the bucket were too large.
    let job = run.job;
    let side = format!("onceload_staging.d_{}", job.0.simple());
    world
        .db
        .exec(&format!(
            "CREATE UNLOGGED TABLE {side}_04 AS SELECT * FROM {side}_03 WHERE row_number % 2 = 0;
             DELETE FROM {side}_03 WHERE row_number % 2 = 0;
             INSERT INTO onceload.import_chunks (job_id, chunk_no, bucket_no, lower_bound, staged, status, internal_duplicates,
                                        database_duplicates, both_duplicates, clean)
             SELECT job_id, 4, 3, '01900', 0, 'marked', d.n, 0, 0, -d.n
               FROM onceload.import_chunks, (SELECT count(*) AS n FROM {side}_04) d WHERE job_id = '{job}' AND chunk_no = 3;
             UPDATE onceload.import_chunks SET internal_duplicates = (SELECT count(*) FROM {side}_03),
                    clean = clean + (SELECT count(*) FROM {side}_04) WHERE job_id = '{job}' AND chunk_no = 3"
        ))
        .await;
    let duplicates = export_records(&world, &run, DUPLICATES, "duplicates.csv.gz").await;
    let mut codes: Vec<&str> = duplicates[1..].iter().map(|record| record[0].as_str()).collect();
    codes.sort_unstable();
    let expected: Vec<String> = (0..1_000).map(|i| format!("{i:05}")).collect();
    assert_eq!(codes, expected);
    let report = export_records(&world, &run, REPORT, "report.csv.gz").await;
    assert_eq!(report.len(), 3_001);
    assert_eq!(report.iter().filter(|record| record[10] == "INTERNAL_DUPLICATE").count(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_duplicates_is_a_header() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code\nA\n").await;
    assert!(
        !world.read_outbox(run.job).await.contains(&"start_maintenance".to_owned()),
        "there is nothing to export without a request"
    );
    let duplicates = export_records(&world, &run, DUPLICATES, "duplicates.csv.gz").await;
    assert_eq!(duplicates.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_import_is_exported_without_a_request() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", "code,points\nA,1\nA,2\nB,x\n").await;
    let asked =
        world.db.column("SELECT kind FROM onceload.import_tasks WHERE requested_by IS NULL ORDER BY 1").await;
    assert_eq!(asked, ["duplicates", "rejects"]);
    assert_eq!(
        world.request_maintenance(run.job, DUPLICATES).await,
        Asked::UnderWay,
        "a repeated request gets the active export"
    );
    // An import that inserted nothing has duplicates to export, too.
    let mut again = world.import_file("b.csv", "code\nA\n");
    again.until(State::Done).await.expect(State::Done);
    let sql = format!("SELECT kind FROM onceload.import_tasks WHERE job_id = '{}'", again.job);
    assert_eq!(world.db.column(&sql).await, ["duplicates"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_at_work_is_not_exported() {
    let world = World::new().await;
    let mut run = world.import_file("a.csv", "code\nA\nA\n");
    for stop in [State::LoadFiles, State::PlanChunks, State::MarkDuplicates, State::Validate] {
        run.until(stop).await.expect(stop);
        for kind in ExportKind::ALL {
            let asked = world.request_maintenance(run.job, Maintenance::Export(*kind)).await;
            assert!(matches!(asked, Asked::WrongState(_)), "{stop:?}, {kind}: {asked:?}");
        }
    }
    // Before an approval the duplicates can be exported.
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(export_records(&world, &run, DUPLICATES, "duplicates.csv.gz").await.len(), 2);
    run.approve(&world.actor).await;
    assert_eq!(world.request_maintenance(run.job, REPORT).await, Asked::WrongState(Status::Processing));
    run.until(State::Done).await.expect(State::Done);

    let stranger = add_member(&world.db, add_merchant(&world.db, "Other").await).await;
    assert_eq!(request_maintenance(&world.app.db, &stranger, run.job, REPORT).await, Asked::NotFound);
    assert_eq!(world.request_maintenance(JobId::generate(), REPORT).await, Asked::NotFound);
    // An import that ended before it was marked has only rejects to export.
    let mut failed = world
        .import_objects(&[&world.upload("b.csv", "code\nB\n"), &world.upload("c.csv", "code,sku\nC,\"\n")]);
    failed.until(State::Done).await.error();
    assert_eq!(world.request_maintenance(failed.job, REPORT).await, Asked::NotMarked(Status::Failed));
    assert_eq!(world.run_task(failed.job, Maintenance::Export(ExportKind::Rejects)).await["rows"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_staging_fails_the_export_and_publishes_nothing() {
    let world = World::new().await;
    let run = world.import_until_approval("a.csv", "code\nA\nA\n").await;
    let late = world.start_task(run.job, REPORT).await;
    // A restart of the server has emptied staging: the export must not publish a file that looks complete.
    world.db.exec(&format!("TRUNCATE onceload_staging.b_{}_00", run.job.0.simple())).await;
    let error = late.run().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
    assert!(error.message.contains("Approve the import: it loads its files again"), "{error}");
    late.abandon(&error).await;
    assert!(list_reports(&world).is_empty());
    assert!(matches!(run.cancel(&world.actor).await, Decision::Taken { .. }));
    assert!(matches!(world.request_maintenance(run.job, Maintenance::Clear).await, Asked::Taken { .. }));
    assert_eq!(world.request_maintenance(run.job, REPORT).await, Asked::StagingCleared);
    assert_eq!(world.request_maintenance(run.job, DUPLICATES).await, Asked::StagingCleared);
    // Rejects go with staging.
    let rejects = Maintenance::Export(ExportKind::Rejects);
    assert_eq!(world.request_maintenance(run.job, rejects).await, Asked::StagingCleared);
}

/// Rows that hardly compress, so that the export is uploaded in several parts.
fn incompressible_rows(rows: u64) -> String {
    let mut text = String::from("code,serial,sku,sku_name\n");
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut word = |text: &mut String, bytes: u32| {
        for _ in 0..bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.!~"
                [(state >> 33) as usize % 66];
            text.push(char::from(letter));
        }
    };
    for row in 0..rows {
        let _ = write!(text, "{row:08}");
        for _ in 0..3 {
            text.push(',');
            word(&mut text, 250);
        }
        text.push('\n');
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_export_publishes_nothing_and_is_repeated() {
    let world = World::new().await;
    let text = incompressible_rows(25_000);
    let run = world.import_to_end("a.csv", text.clone()).await;
    let task = world.start_task(run.job, REPORT).await;
    let input: Value = json!({ "task_id": task.task, "job_id": task.job });
    let key = report_key(&world, run.job, "report.csv.gz");
    let gate = world.s3.gate_parts(1);
    for round in 1..=2 {
        let mut process = Process::start(&world, "export-report", &input);
        world.s3.wait_for_held_parts(round).await;
        process.kill();
        assert!(world.s3.get(&key).is_none(), "no partial file appears");
        assert_eq!(world.db.value("SELECT status FROM onceload.import_tasks").await, "active");
    }
    gate.send(true).unwrap();
    let result = task.run().await.unwrap();
    assert_eq!(result["rows"], 25_000);
    let read = String::from_utf8(read_gzip(&world, &key)).unwrap();
    let codes: Vec<&str> = read.lines().skip(1).map(|line| &line[..8]).collect();
    let expected: Vec<&str> = text.lines().skip(1).map(|line| &line[..8]).collect();
    assert_eq!(codes, expected, "every row once, in order");
    assert_eq!(list_reports(&world), [key.as_str()], "one file");
    // The bucket's lifecycle removes the uploads of killed runs.
    assert_eq!(world.s3.open_multiparts().len(), 2);
    assert_eq!(task.run().await.unwrap(), result, "a repeated run has the same result");
}

/// Runs the task beside the test, and waits until a part of its upload is held.
async fn spawn_until_held(world: &World, task: &MaintenanceTask) -> JoinHandle<StepResult<Value>> {
    let task = task.with_own_connections(world);
    let running = tokio::spawn(async move { task.run().await });
    world.s3.wait_for_held_parts(1).await;
    running
}

/// The import inserts while it is exported. The export starts over and reports the new state.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_races_an_insert_starts_over() {
    let world = World::new().await;
    let mut run = world.import_until_approval("a.csv", incompressible_rows(25_000)).await;
    let task = world.start_task(run.job, REPORT).await;
    let gate = world.s3.gate_parts(0);
    let running = spawn_until_held(&world, &task).await;
    world.add_codes(&["00000007"]).await;
    run.approve(&world.actor).await;
    run.app = world.app_with_pool(2);
    assert_eq!(run.insert().await.unwrap().late_duplicates, 1);
    gate.send(true).unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    let key = report_key(&world, run.job, "report.csv.gz");
    assert!(world.s3.get(&key).is_none());
    assert_eq!(world.s3.open_multiparts().len(), 0, "the abandoned upload is aborted");
    assert_eq!(task.run().await.unwrap()["rows"], 25_000);
    let read = String::from_utf8(read_gzip(&world, &key)).unwrap();
    assert_eq!(read.lines().filter(|line| line.ends_with("LATE_DUPLICATE")).count(), 1);
    run.until(State::Done).await.expect(State::Done);
}

/// An export that was abandoned while it ran publishes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_export_publishes_nothing() {
    let world = World::new().await;
    let run = world.import_to_end("a.csv", incompressible_rows(25_000)).await;
    let task = world.start_task(run.job, REPORT).await;
    let gate = world.s3.gate_parts(0);
    let running = spawn_until_held(&world, &task).await;
    let why = shared::domain::step::StepError::internal("the function was stopped");
    task.abandon(&why).await;
    gate.send(true).unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert!(list_reports(&world).is_empty());
    let shown = world.db.column("SELECT status || ' ' || error_message FROM onceload.import_tasks").await;
    assert_eq!(shown, ["failed the function was stopped"]);
}
