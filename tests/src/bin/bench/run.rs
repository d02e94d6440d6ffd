//! One measured import: generate, open, load, mark, validate, approve, insert, verify; then export, clear, roll back.

use crate::Outcome;
use crate::database::{self, Bench};
use crate::operator::Operator;
use crate::report::{Report, Stage};
use crate::worker::Worker;
use onceload_tests::objects::{ACCESS_KEY, BUCKET, SECRET_KEY, TestS3};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use uuid::Uuid;
use xtask::generate::{Expected, PRODUCTION, Plan, generate_with, grouped};

pub async fn run(rows: u64, streams: usize) -> Outcome<()> {
    let plan = Plan::workload_of(rows);
    let merchant = Uuid::parse_str(&plan.merchant_id)?;
    let directory = target().join(format!("bench-{rows}"));
    let prefix = format!("uploads/{merchant}/batch/");
    let expected = generated(&plan, &directory)?;

    say(&format!("Loading {} codes into production", grouped(plan.production)));
    let mut bench = database::create().await?;
    let production_before = bench.load_production(merchant, &directory.join(PRODUCTION)).await?;
    let s3 = TestS3::start().await;
    for file in &expected.files {
        s3.put_file(&format!("{prefix}{}", file.name), &directory.join(&file.name));
    }
    let environment = environment(&bench, &s3.endpoint);
    let mut measured = Measured { bench, stages: Vec::new() };

    let mut workers = Vec::new();
    for _ in 0..streams {
        workers.push(Worker::start(&environment)?);
    }
    let started = Instant::now();
    let job = import(&mut measured, workers, &environment, merchant, &prefix, &expected).await?;
    let total_seconds = started.elapsed().as_secs_f64();

    let inserted =
        measured.bench.count(&format!("SELECT count(*) FROM codes WHERE import_job_id = '{job}'")).await?;
    let operator = Operator::new(&measured.bench, merchant).await?;
    afterwards(&mut measured, &environment, &operator, JobId(job), &expected).await?;
    let report = Report {
        rows: expected.records,
        files: plan.files,
        production_before,
        inserted,
        streams,
        total_seconds,
        counts_are_right: inserted == expected.clean,
        stages: measured.stages,
    };
    report.print();
    report.write(&target().join("bench.json"))?;
    std::fs::remove_dir_all(&directory)?;
    if !report.counts_are_right {
        return Err(format!("{inserted} codes inserted, {} expected", expected.clean).into());
    }
    Ok(())
}

fn target() -> PathBuf {
    // target/release/bench -> target
    let executable = std::env::current_exe().unwrap_or_default();
    executable.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_else(|| PathBuf::from("target"))
}

fn say(words: &str) {
    println!("{words} ...");
}

fn generated(plan: &Plan, directory: &Path) -> Outcome<Expected> {
    let _ = std::fs::remove_dir_all(directory);
    std::fs::create_dir_all(directory)?;
    say(&format!("Generating {} rows in {} files", grouped(plan.rows), plan.files));
    let live = std::io::stdout().is_terminal();
    let mut last = Instant::now();
    Ok(generate_with(plan, directory, |done, all| {
        if live && last.elapsed().as_secs() >= 1 {
            print!("\r  {} of {} rows", grouped(done), grouped(all));
            last = Instant::now();
        }
    })?)
}

fn environment(bench: &Bench, s3_url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", bench.url.clone()),
        ("BUCKET", BUCKET.into()),
        ("AWS_ENDPOINT_URL", s3_url.into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
    ]
}

/// The stages so far, and the server that they are measured on.
struct Measured {
    bench: Bench,
    stages: Vec<Stage>,
}

struct Watch {
    started: Instant,
    wal: u64,
}

impl Measured {
    async fn begin(&self, stage: &str) -> Outcome<Watch> {
        say(stage);
        Ok(Watch { wal: self.bench.wal().await?, started: Instant::now() })
    }

    #[allow(clippy::cast_precision_loss)]
    async fn end(&mut self, watch: Watch, stage: &'static str, rows: u64, peak_bytes: u64) -> Outcome<()> {
        let seconds = watch.started.elapsed().as_secs_f64();
        let wal_bytes = self.bench.wal().await? - watch.wal;
        self.stages.push(Stage {
            stage,
            rows,
            seconds,
            rows_per_second: rows as f64 / seconds,
            peak_bytes,
            wal_bytes,
        });
        Ok(())
    }
}

/// The steps in the state machine's order.
async fn import(
    measured: &mut Measured,
    mut workers: Vec<Worker>,
    environment: &[(&str, String)],
    merchant: Uuid,
    prefix: &str,
    expected: &Expected,
) -> Outcome<Uuid> {
    let streams = workers.len();
    let watch = measured.begin("open").await?;
    let input = json!({ "execution_arn": "bench", "input": { "merchant_id": merchant, "prefix": prefix } });
    let opened = workers[0].step("open-import", &input).await?;
    measured.end(watch, "open", expected.files.len() as u64, workers[0].peak_bytes).await?;
    let (job, attempt) = (opened["job_id"].clone(), opened["attempt"].clone());
    let job_id: Uuid = serde_json::from_value(job.clone())?;

    let watch = measured.begin("load").await?;
    let files = numbers(&opened["files"])
        .into_iter()
        .map(|n| json!({ "job_id": job, "attempt": attempt, "file_no": n }));
    let (_, peak) = map(workers, "load-staging", files.collect()).await?;
    measured.end(watch, "load", expected.staged, peak).await?;

    let mut workers = fresh(streams, environment)?;
    let watch = measured.begin("mark").await?;
    let plan = workers[0].step("mark-duplicates", &json!({ "job_id": job, "attempt": attempt })).await?;
    let chunks = numbers(&plan["chunks"])
        .into_iter()
        .map(|n| json!({ "job_id": job, "attempt": attempt, "chunk": n }));
    let (_, peak) = map(workers, "mark-duplicates", chunks.collect()).await?;
    measured.end(watch, "mark", expected.staged, peak).await?;

    let mut worker = Worker::start(environment)?;
    let step = json!({ "job_id": job, "attempt": attempt });
    let watch = measured.begin("validate").await?;
    let validated = worker.step("validate-import", &step).await?;
    measured.end(watch, "validate", expected.staged, worker.peak_bytes).await?;
    compare(&validated["mark"], expected)?;
    worker
        .step("validate-import", &json!({ "job_id": job, "attempt": attempt, "task_token": "bench" }))
        .await?;
    Operator::new(&measured.bench, merchant).await?.approve(JobId(job_id), expected).await?;

    let watch = measured.begin("insert").await?;
    worker.step("insert-codes", &step).await?;
    measured.end(watch, "insert", expected.clean, worker.peak_bytes).await?;
    let watch = measured.begin("verify").await?;
    let verified = worker.step("verify-import", &json!({ "job_id": job })).await?;
    measured.end(watch, "verify", expected.clean, worker.peak_bytes).await?;
    if verified["verified"] != json!(true) {
        return Err(format!("verification says {verified}").into());
    }
    worker
        .step("close-import", &json!({ "job_id": job, "attempt": attempt, "execution_arn": "bench" }))
        .await?;
    Ok(job_id)
}

fn numbers(list: &Value) -> Vec<i64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
}

fn fresh(count: usize, environment: &[(&str, String)]) -> Outcome<Vec<Worker>> {
    (0..count).map(|_| Worker::start(environment)).collect()
}

/// A Map state: every worker takes the next item until none is left.
async fn map(workers: Vec<Worker>, step: &'static str, items: VecDeque<Value>) -> Outcome<(Vec<Value>, u64)> {
    let items = Arc::new(Mutex::new(items));
    let mut running = tokio::task::JoinSet::new();
    for mut worker in workers {
        let items = Arc::clone(&items);
        running.spawn(async move {
            let mut outputs = Vec::new();
            loop {
                let next = items.lock().map_err(|_| "poisoned")?.pop_front();
                let Some(item) = next else { break };
                outputs.push(worker.step(step, &item).await?);
            }
            Outcome::Ok((outputs, worker.peak_bytes))
        });
    }
    let (mut outputs, mut peak) = (Vec::new(), 0);
    while let Some(done) = running.join_next().await {
        let (some, most) = done??;
        outputs.extend(some);
        peak = peak.max(most);
    }
    Ok((outputs, peak))
}

fn compare(mark: &Value, expected: &Expected) -> Outcome<()> {
    let pairs = [
        ("total_rows", expected.staged),
        ("internal_duplicates", expected.internal_duplicates),
        ("database_duplicates", expected.database_duplicates),
        ("both_duplicates", expected.both_duplicates),
        ("clean_count", expected.clean),
    ];
    for (name, wanted) in pairs {
        if mark[name].as_u64() != Some(wanted) {
            return Err(format!("{name} is {}, {wanted} expected", mark[name]).into());
        }
    }
    Ok(())
}

/// What an operator asks for when the import is over: its duplicates, its staging cleared, and back with it.
async fn afterwards(
    measured: &mut Measured,
    environment: &[(&str, String)],
    operator: &Operator,
    job: JobId,
    expected: &Expected,
) -> Outcome<()> {
    let duplicates = expected.staged - expected.clean;
    let mut worker = Worker::start(environment)?;
    let watch = measured.begin("export").await?;
    let task = measured.bench.task(job, "kind = 'duplicates'").await?;
    let exported = worker.step("export-report", &json!({ "task_id": task, "job_id": job })).await?;
    measured.end(watch, "export", duplicates, worker.peak_bytes).await?;
    equal("exported duplicates", &exported["rows"], duplicates)?;

    let watch = measured.begin("clear").await?;
    operator.clear(job).await?;
    measured.end(watch, "clear", expected.staged, 0).await?;

    let mut worker = Worker::start(environment)?;
    let watch = measured.begin("rollback").await?;
    operator.roll_back(job).await?;
    let task = measured.bench.task(job, "action = 'rollback'").await?;
    let rolled_back = worker.step("rollback-import", &json!({ "task_id": task, "job_id": job })).await?;
    measured.end(watch, "rollback", expected.clean, worker.peak_bytes).await?;
    equal("deleted codes", &rolled_back["codes_deleted"], expected.clean)
}

fn equal(what: &str, found: &Value, wanted: u64) -> Outcome<()> {
    if found.as_u64() == Some(wanted) {
        return Ok(());
    }
    Err(format!("{what}: {found}, {wanted} expected").into())
}
