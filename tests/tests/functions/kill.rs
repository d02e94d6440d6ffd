//! kill -9 of a function in the middle of its transaction, and of its backend: afterwards everything is there once.

use crate::bad_files::noise;
use onceload_tests::objects::{ACCESS_KEY, BUCKET, SECRET_KEY};
use onceload_tests::{Bench, Run, State};
use serde_json::{Value, json};
use shared::domain::job::Status;
use shared::domain::step::StepErrorKind;
use shared::edge::Budget;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A function's process. Killed with the value.
pub struct Process(Child);

impl Process {
    pub fn start(bench: &Bench, step: &str, input: &Value) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_step"))
            .args([step, &input.to_string()])
            .env("DATABASE_URL", bench.db.url())
            .env("BUCKET", BUCKET)
            .env("AWS_ENDPOINT_URL", &bench.s3.endpoint)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", "eu-central-1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the step's process");
        Self(child)
    }

    /// kill -9: no destructor runs, no connection is closed in order.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.code(), None, "it had ended by itself: {status}");
    }

    /// Waits for its end; returns the most memory that it had, in bytes.
    pub fn peak_memory(mut self) -> u64 {
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        let kibibytes: u64 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn assert_imported_once(bench: &Bench, run: &mut Run, rows: i64) {
    run.finish(&bench.actor).await.expect(State::Done);
    let job = bench.job(run.job).await;
    for column in ["records", "staged", "codes_inserted"] {
        assert_eq!(job[column], json!(rows), "{column}");
    }
    assert_eq!(job["verification"]["verified"], true);
    assert_eq!(bench.codes().await, rows);
    assert_eq!(job["restage_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_killed_in_the_middle_of_its_copy() {
    let bench = Bench::new().await;
    let text = noise(300_000);
    let mut run = bench.file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let input = json!({ "job_id": run.job, "attempt": run.attempt, "file_no": 1 });
    for share in [3, 2] {
        // Two thirds, then half of the object arrive; the rest never does.
        let gate = bench.s3.gate(&bench.stage_key("a.csv"), text.len() as u64 / share);
        let mut process = Process::start(&bench, "load-staging", &input);
        bench
            .db
            .until(
                "rows are copied",
                "SELECT count(*) > 0 FROM import_progress WHERE step = 'load' AND rows_done > 50000",
            )
            .await;
        process.kill();
        drop(gate);
        let visible = format!("SELECT count(*) FROM codes_check_temp('{}')", run.job);
        assert_eq!(bench.db.int(&visible).await, 0);
        assert_eq!(bench.db.column("SELECT status FROM import_files").await, ["pending"]);
        bench.db.exec("DELETE FROM import_progress").await;
    }
    bench.s3.trouble(&bench.stage_key("a.csv"), Default::default());
    // The dead process' backend lets go by itself.
    bench.db.until("the backend is gone", "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'onceload load%' AND state <> 'idle'").await;
    assert_imported_once(&bench, &mut run, 300_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_killed_in_the_middle_of_its_transaction() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", noise(300_000));
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&bench.actor).await;
    let input = json!({ "job_id": run.job, "attempt": run.attempt });
    let inserting = "SELECT count(*) > 0 FROM pg_stat_activity
                      WHERE datname = current_database() AND query LIKE '-- staging.insert%' AND state = 'active'";
    for _ in 0..2 {
        let mut process = Process::start(&bench, "insert-codes", &input);
        bench.db.until("the insert is under way", inserting).await;
        process.kill();
        // The server works on until it notices that nobody listens: as a rule at the end of the statement.
        bench
            .db
            .until(
                "the backend is gone",
                "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'onceload insert'",
            )
            .await;
        assert_eq!(bench.codes().await, 0, "all or nothing");
        assert_eq!(bench.status(run.job).await, "processing");
    }
    let codes_before_vacuum = bench.codes().await;
    assert_eq!(codes_before_vacuum, 0);
    let inserted = run.insert().await.unwrap();
    assert_eq!(inserted.codes_inserted, 300_000);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 300_000);
    assert_eq!(bench.job(run.job).await["verification"]["verified"], true);
}

/// `pg_terminate_backend` of whoever runs this statement, once it does.
async fn terminate(bench: &Bench, pattern: &str) {
    let terminate = format!(
        "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE '{pattern}'"
    );
    bench.db.until("a backend to terminate", &terminate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_terminated_is_transient() {
    let bench = Bench::new().await;
    let text = noise(100_000);
    let mut run = bench.file("a.csv", text.clone());
    run.until(State::LoadFiles).await.expect(State::LoadFiles);
    let gate = bench.s3.gate(&bench.stage_key("a.csv"), text.len() as u64 / 2);
    let loader = {
        let run = run.clone();
        tokio::spawn(async move { run.load(1).await })
    };
    bench.db.until("rows are copied", "SELECT count(*) > 0 FROM import_progress WHERE rows_done > 0").await;
    terminate(&bench, "onceload load%").await;
    gate.send(true).unwrap();
    let error = loader.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");

    run.load_files().await.unwrap();
    run.at = State::PlanChunks;
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&bench.actor).await;
    let inserter = {
        let run = run.clone();
        tokio::spawn(async move { run.insert().await })
    };
    terminate(&bench, "onceload insert").await;
    let error = inserter.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StepErrorKind::Transient, "{error}");
    // A pooler tells its client before the backend has rolled back; the state machine would repeat the step.
    let gone = "SELECT count(*) = 0 FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'onceload insert'";
    bench.db.until("the backend is gone", gone).await;
    assert_eq!(bench.codes().await, 0);
    run.until(State::Done).await.expect(State::Done);
    assert_eq!(bench.codes().await, 100_000);
}

/// The time that a function has left bounds its statements: what doesn't fit is rolled back and said, not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_runs_out_of_time_is_no_transient_failure() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nB\nC\n");
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    run.approve(&bench.actor).await;
    let blocker = bench.db.connect().await;
    let hold = format!("BEGIN; INSERT INTO codes (merchant_id, code) VALUES ('{}', 'B')", bench.merchant);
    blocker.batch_execute(&hold).await.expect("a row in the way");
    let input = insert_codes::Input { job_id: run.job, attempt: run.attempt };
    let a_second = Budget::of(Duration::from_secs(1));
    let error = insert_codes::handle(bench.app.clone(), input, a_second).await.expect_err("out of time");
    assert_eq!(error.kind, StepErrorKind::TimeBudgetExceeded, "{error}");
    assert!(error.message.contains("split the import"), "{error}");
    blocker.batch_execute("ROLLBACK").await.expect("out of the way");
    assert_eq!(bench.codes().await, 0);
    assert_eq!(run.close_stopped(&error).await.expect("close"), Some(Status::Failed));
}
