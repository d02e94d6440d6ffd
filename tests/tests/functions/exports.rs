//! Duplicates and the report of every row: what is in them, when they may be had, and that nothing half is ever seen.

use crate::kill::Process;
use onceload_tests::fixture::{add_member, add_merchant, app};
use onceload_tests::upkeep::ask;
use onceload_tests::{Ask, Bench, Run, State};
use serde_json::{Value, json};
use shared::db::maintenance::Asked;
use shared::domain::ids::JobId;
use shared::domain::job::Status;
use shared::domain::step::StepErrorKind;
use shared::domain::task::ExportKind;
use shared::edge::csv_stream::{Next, Records};
use std::fmt::Write;
use std::io::Read;

const DUPLICATES: Ask = Ask::Export(ExportKind::Duplicates);
const REPORT: Ask = Ask::Export(ExportKind::Report);
const HEADER: &str = "code,serial,sku,points,sku_name,batch_code,price,window_start,window_end,merchant_id";

/// What lies under a key, decompressed.
pub fn unzipped(bench: &Bench, key: &str) -> Vec<u8> {
    let stored = bench.s3.get(key).unwrap_or_else(|| panic!("nothing under {key}"));
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(stored.as_ref()).read_to_end(&mut text).expect("gzip");
    text
}

fn reports(bench: &Bench) -> Vec<String> {
    bench.s3.keys().into_iter().filter(|key| key.starts_with("reports/")).collect()
}

fn key(bench: &Bench, job: JobId, name: &str) -> String {
    format!("reports/{}/{job}/{name}", bench.merchant)
}

/// The records of a file, header first.
pub async fn records(text: Vec<u8>) -> Vec<Vec<String>> {
    let mut records = Records::new(Box::pin(std::io::Cursor::new(text)), b',');
    let mut all = Vec::new();
    while records.next().await.unwrap() == Next::Record {
        all.push(records.record().iter().map(|field| String::from_utf8(field.to_vec()).unwrap()).collect());
    }
    all
}

async fn exported(bench: &Bench, run: &Run, what: Ask, name: &str) -> Vec<Vec<String>> {
    let result = bench.done(run.job, what).await;
    let key = key(bench, run.job, name);
    assert_eq!(result["files"][0]["key"], json!(key));
    assert_eq!(result["files"][0]["bytes"], json!(bench.s3.get(&key).unwrap().len()));
    let records = records(unzipped(bench, &key)).await;
    assert_eq!(result["rows"], json!(records.len() - 1));
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_report_say_what_became_of_each_row() {
    let bench = Bench::new().await;
    bench.add_codes(&["OLD", "BOTH"]).await;
    let first = bench.stage(
        "1.csv",
        "code,serial,sku,points,sku_name,batch_code,price,window_start\n\
         NEW,=1+1,+49,-5,\"a \"\"b\"\", c\",@x,-1.50,2026-01-02\n\
         OLD,-5,,,,,,\n\
         TWICE,s1,,,,,,\n\
         BOTH,,,,,,,\n",
    );
    let second = bench.stage(
        "2.csv",
        "code;serial\nTWICE;\"\tx\"\nBOTH;\"line\nbreak\"\n-MINUS;ok\nÄ€;\"\"\nLATE;\n".as_bytes().to_vec(),
    );
    let mut run = bench.request(&[&first, &second]);
    run.finish(&bench.actor).await.expect(State::Done);
    bench.forget_tasks().await;
    // As an insert leaves it that has met a code on its way.
    let hex = run.job.0.simple();
    bench
        .db
        .exec(&format!(
            "DELETE FROM codes WHERE code = 'LATE';
             INSERT INTO onceload_staging.d_{hex}_00 SELECT row_number, 4 FROM onceload_staging.b_{hex}_00 WHERE code = 'LATE';
             UPDATE import_chunks SET late_duplicates = 1;
             UPDATE codes_import_jobs SET late_duplicates = 1, codes_inserted = 4"
        ))
        .await;

    let report = exported(&bench, &run, REPORT, "report.csv.gz").await;
    assert_eq!(report[0].join(","), format!("{HEADER},status"));
    let merchant = bench.merchant.to_string();
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
        "formulas are texts, numbers are numbers"
    );

    let duplicates = exported(&bench, &run, DUPLICATES, "duplicates.csv.gz").await;
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
        "in order of their places in the files"
    );
}

/// The merchant's staging in several buckets, one of them cut into chunks.
#[tokio::test(flavor = "multi_thread")]
async fn every_bucket_and_chunk_is_in_it_once() {
    let bench = Bench::new().await;
    let mut text = String::from("code\n");
    for i in 0..3_000u32 {
        let _ = writeln!(text, "{:05}", i % 2_000);
    }
    let mut run = bench.file("a.csv", text);
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    run.split_at(&bench.db, &["00300", "00900", "01500"]).await;
    run.finish(&bench.actor).await.expect(State::Done);
    assert_eq!(run.chunks.len(), 4);
    bench.forget_tasks().await;
    // As if the last bucket had come out too big: its chunk becomes two.
    let job = run.job;
    let side = format!("onceload_staging.d_{}", job.0.simple());
    bench
        .db
        .exec(&format!(
            "CREATE UNLOGGED TABLE {side}_04 AS SELECT * FROM {side}_03 WHERE row_number % 2 = 0;
             DELETE FROM {side}_03 WHERE row_number % 2 = 0;
             INSERT INTO import_chunks (job_id, chunk_no, bucket_no, lower_bound, staged, status, internal_duplicates,
                                        database_duplicates, both_duplicates, clean)
             SELECT job_id, 4, 3, '01900', 0, 'marked', d.n, 0, 0, -d.n
               FROM import_chunks, (SELECT count(*) AS n FROM {side}_04) d WHERE job_id = '{job}' AND chunk_no = 3;
             UPDATE import_chunks SET internal_duplicates = (SELECT count(*) FROM {side}_03),
                    clean = clean + (SELECT count(*) FROM {side}_04) WHERE job_id = '{job}' AND chunk_no = 3"
        ))
        .await;
    let duplicates = exported(&bench, &run, DUPLICATES, "duplicates.csv.gz").await;
    let mut codes: Vec<&str> = duplicates[1..].iter().map(|record| record[0].as_str()).collect();
    codes.sort_unstable();
    let expected: Vec<String> = (0..1_000).map(|i| format!("{i:05}")).collect();
    assert_eq!(codes, expected);
    let report = exported(&bench, &run, REPORT, "report.csv.gz").await;
    assert_eq!(report.len(), 3_001);
    assert_eq!(report.iter().filter(|record| record[10] == "INTERNAL_DUPLICATE").count(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_set_is_a_file_with_a_header() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\n");
    run.finish(&bench.actor).await.expect(State::Done);
    assert!(
        !bench.outbox(run.job).await.contains(&"start_maintenance".to_owned()),
        "nothing to export by itself"
    );
    let duplicates = exported(&bench, &run, DUPLICATES, "duplicates.csv.gz").await;
    assert_eq!(duplicates.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_import_is_exported_by_itself() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code,points\nA,1\nA,2\nB,x\n");
    run.finish(&bench.actor).await.expect(State::Done);
    let asked = bench.db.column("SELECT kind FROM import_tasks WHERE requested_by IS NULL ORDER BY 1").await;
    assert_eq!(asked, ["duplicates", "rejects"]);
    assert_eq!(bench.ask(run.job, DUPLICATES).await, Asked::UnderWay, "the same again is that one");
    // An import that did not insert anything has duplicates all the more.
    let mut again = bench.file("b.csv", "code\nA\n");
    again.until(State::Done).await.expect(State::Done);
    let sql = format!("SELECT kind FROM import_tasks WHERE job_id = '{}'", again.job);
    assert_eq!(bench.db.column(&sql).await, ["duplicates"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_while_somebody_works_on_it() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nA\n");
    for stop in [State::LoadFiles, State::PlanChunks, State::MarkDuplicates, State::Validate] {
        run.until(stop).await.expect(stop);
        for kind in ExportKind::ALL {
            let asked = bench.ask(run.job, Ask::Export(*kind)).await;
            assert!(matches!(asked, Asked::WrongState(_)), "{stop:?}, {kind}: {asked:?}");
        }
    }
    // Whoever is to approve it may look at the duplicates first.
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    assert_eq!(exported(&bench, &run, DUPLICATES, "duplicates.csv.gz").await.len(), 2);
    run.approve(&bench.actor).await;
    assert_eq!(bench.ask(run.job, REPORT).await, Asked::WrongState(Status::Processing));
    run.until(State::Done).await.expect(State::Done);

    let stranger = add_member(&bench.db, add_merchant(&bench.db, "Other").await).await;
    assert_eq!(ask(&bench.app.db, &stranger, run.job, REPORT).await, Asked::NotFound);
    assert_eq!(bench.ask(JobId::generate(), REPORT).await, Asked::NotFound);
    // An import that ended before it was marked has rejects at most.
    let mut failed =
        bench.request(&[&bench.stage("b.csv", "code\nB\n"), &bench.stage("c.csv", "code,sku\nC,\"\n")]);
    failed.until(State::Done).await.error();
    assert_eq!(bench.ask(failed.job, REPORT).await, Asked::NotMarked(Status::Failed));
    assert_eq!(bench.done(failed.job, Ask::Export(ExportKind::Rejects)).await["rows"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_that_is_gone() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nA\n");
    run.finish(&bench.actor).await.expect(State::Done);
    bench.forget_tasks().await;
    let late = bench.task(run.job, REPORT).await;
    // A restart of the server has emptied it: nothing is written that would look whole.
    bench.db.exec(&format!("TRUNCATE onceload_staging.b_{}_00", run.job.0.simple())).await;
    let error = late.run().await.unwrap_err();
    assert_eq!(error.kind, StepErrorKind::StagingLost, "{error}");
    late.give_up(&error).await;
    assert!(reports(&bench).is_empty());
    assert!(matches!(bench.ask(run.job, Ask::Clear).await, Asked::Taken { .. }));
    assert_eq!(bench.ask(run.job, REPORT).await, Asked::StagingCleared);
    assert_eq!(bench.ask(run.job, DUPLICATES).await, Asked::StagingCleared);
    // Rejects are kept elsewhere.
    assert!(matches!(bench.ask(run.job, Ask::Export(ExportKind::Rejects)).await, Asked::Taken { .. }));
}

/// Rows that compress badly, so that the file is sent in several parts.
fn bulky(rows: u64) -> String {
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
async fn killed_in_the_middle_and_run_again() {
    let bench = Bench::new().await;
    let text = bulky(25_000);
    let mut run = bench.file("a.csv", text.clone());
    run.finish(&bench.actor).await.expect(State::Done);
    let task = bench.task(run.job, REPORT).await;
    let input: Value = json!({ "task_id": task.task, "job_id": task.job });
    let key = key(&bench, run.job, "report.csv.gz");
    let gate = bench.s3.gate_parts(1);
    for round in 1..=2 {
        let mut process = Process::start(&bench, "export-report", &input);
        bench.s3.until_held(round).await;
        process.kill();
        assert!(bench.s3.get(&key).is_none(), "nothing half is seen");
        assert_eq!(bench.db.value("SELECT status FROM import_tasks").await, "active");
    }
    gate.send(true).unwrap();
    let result = task.run().await.unwrap();
    assert_eq!(result["rows"], 25_000);
    let read = String::from_utf8(unzipped(&bench, &key)).unwrap();
    let codes: Vec<&str> = read.lines().skip(1).map(|line| &line[..8]).collect();
    let expected: Vec<&str> = text.lines().skip(1).map(|line| &line[..8]).collect();
    assert_eq!(codes, expected, "every row once, in order");
    assert_eq!(reports(&bench), [key.as_str()], "one file");
    // What the dead have left goes by the bucket's lifecycle.
    assert_eq!(bench.s3.open_multiparts().len(), 2);
    assert_eq!(task.run().await.unwrap(), result, "and once");
}

/// The import goes on while it is exported: the export begins anew, and says what is so then.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_with_late_codes_beside_it() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", bulky(25_000));
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let task = bench.task(run.job, REPORT).await;
    let gate = bench.s3.gate_parts(0);
    let running = {
        let task = task.beside(&bench);
        tokio::spawn(async move { task.run().await })
    };
    bench.s3.until_held(1).await;
    bench.add_codes(&["00000007"]).await;
    run.approve(&bench.actor).await;
    run.app = app(&bench.db, &bench.s3);
    assert_eq!(run.insert().await.unwrap().late_duplicates, 1);
    gate.send(true).unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    let key = key(&bench, run.job, "report.csv.gz");
    assert!(bench.s3.get(&key).is_none());
    assert_eq!(bench.s3.open_multiparts().len(), 0, "what is given up is cleared away");
    assert_eq!(task.run().await.unwrap()["rows"], 25_000);
    let read = String::from_utf8(unzipped(&bench, &key)).unwrap();
    assert_eq!(read.lines().filter(|line| line.ends_with("LATE_DUPLICATE")).count(), 1);
    run.until(State::Done).await.expect(State::Done);
}

/// One that was given up publishes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_ghost_publishes_nothing() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", bulky(25_000));
    run.finish(&bench.actor).await.expect(State::Done);
    let task = bench.task(run.job, REPORT).await;
    let gate = bench.s3.gate_parts(0);
    let running = {
        let task = task.beside(&bench);
        tokio::spawn(async move { task.run().await })
    };
    bench.s3.until_held(1).await;
    let why = shared::domain::step::StepError::internal("the function was stopped");
    task.give_up(&why).await;
    gate.send(true).unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Superseded, "{error}");
    assert!(reports(&bench).is_empty());
    let shown = bench.db.column("SELECT status || ' ' || error_message FROM import_tasks").await;
    assert_eq!(shown, ["failed the function was stopped"]);
}
