//! One measured import with the functions' own code: open, load, mark, validate, approve, insert, verify; then
//! export duplicates and report, clear, roll back. Between the stages the physical limits of the same server, if wanted.

use crate::batch::Batch;
use crate::database::{Bench, Server};
use crate::measured::Measured;
use crate::operator::Operator;
use crate::production::Production;
use crate::readers::{self, Readers};
use crate::report::{Limits, Run, say};
use crate::template::Template;
use crate::worker::Worker;
use crate::{Outcome, Part, limit};
use onceload_tests::objects::{ACCESS_KEY, BUCKET, SECRET_KEY, TestS3};
use serde_json::{Value, json};
use shared::domain::ids::JobId;
use shared::domain::task::ExportKind;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;
use xtask::generate::{Expected, grouped};

/// What an import is measured with.
pub(crate) struct Setup<'a> {
    pub server: &'a Server,
    pub template: &'a Template,
    pub production: &'a Production,
    pub batch: &'a Batch,
    pub streams: usize,
    /// What is measured beside the import itself.
    pub parts: &'a [Part],
    /// Another run will read the files, too.
    pub keeps_files: bool,
}

/// The readers' times before the insert, over so long.
const IDLE: Duration = Duration::from_secs(10);

/// Of the export's multipart upload (shared/src/s3/gzip_upload.rs).
const PART_BYTES: u64 = 8 << 20;

pub(crate) async fn measure(setup: &Setup<'_>) -> Outcome<Run> {
    let batch = setup.batch;
    say(&format!("Loading {} codes into production", grouped(batch.plan.production)));
    let mut bench = Bench::create(setup.server, setup.production).await?;
    let production_before = bench.load_production(batch.merchant, &batch.production()).await?;
    let s3 = TestS3::start().await;
    batch.put(&s3);
    let environment = environment(&bench, &s3.endpoint);
    let mut import = Import { setup, s3, environment, measured: Measured::new(bench), limits: Limits::new() };
    import.adopt(production_before).await?;

    let (job, attempt, chunks) = import.stage().await?;
    let (operator, readers) = import.insert(job, attempt).await?;
    let inserted = import
        .measured
        .bench
        .count(&format!("SELECT count(*) FROM onceload.codes WHERE import_job_id = '{job}'"))
        .await?;
    equal("inserted codes", &json!(inserted), batch.expected.clean)?;
    let parts = import.export(&operator, job).await?;
    import.undo(&operator, job).await?;
    let Import { s3, measured, limits, .. } = import;
    setup.server.drop(Bench::DATABASE).await?;
    let Measured { stages, invocations, .. } = measured;
    Ok(Run {
        production_before,
        inserted,
        stages,
        limits,
        readers,
        invocations,
        chunks,
        s3_reads: batch.reads(&s3),
        s3_writes: 1 + parts + 2,
    })
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

struct Import<'a> {
    setup: &'a Setup<'a>,
    s3: TestS3,
    environment: Vec<(&'static str, String)>,
    measured: Measured,
    limits: Limits,
}

impl Import<'_> {
    fn worker(&self, function: &'static str) -> Outcome<Worker> {
        Worker::start(function, self.setup.template, &self.environment)
    }

    fn workers(&self, function: &'static str) -> Outcome<Vec<Worker>> {
        (0..self.setup.streams).map(|_| self.worker(function)).collect()
    }

    fn wants(&self, part: Part) -> bool {
        self.setup.parts.contains(&part)
    }

    /// Makes the application's table the one that imports write to, if there is an application.
    async fn adopt(&mut self, codes: u64) -> Outcome<()> {
        let Some(request) = &self.setup.production.adoption else { return Ok(()) };
        let mut worker = self.worker("migrate")?;
        let watch = self.measured.begin("adopt").await?;
        let adopted = worker.invoke(request).await?;
        self.measured.end(watch, codes, worker.peak_bytes).await?;
        if adopted["applied"] != json!(true) {
            return Err(format!("the adoption says {adopted}").into());
        }
        Ok(())
    }

    /// Opens, loads and marks, in the state machine's order; answers job, attempt and how many chunks there were.
    async fn stage(&mut self) -> Outcome<(JobId, Value, u64)> {
        let Setup { batch, streams, .. } = *self.setup;
        let staged = batch.expected.staged;
        let mut open = self.worker("open-import")?;
        let watch = self.measured.begin("open").await?;
        let input = json!({ "execution_arn": "bench", "input": { "merchant_id": batch.merchant, "prefix": batch.prefix() } });
        let opened = open.invoke(&input).await?;
        let peak = self.measured.retire(open);
        self.measured.end(watch, batch.plan.files, peak).await?;
        let (job, attempt) = (opened["job_id"].clone(), opened["attempt"].clone());
        let job_id: Uuid = serde_json::from_value(job.clone())?;

        let files = numbers(&opened["files"])
            .into_iter()
            .map(|n| json!({ "job_id": job, "attempt": attempt, "file_no": n }));
        let workers = self.workers("load-staging")?;
        let watch = self.measured.begin("load").await?;
        let workers = map(workers, files.collect()).await?;
        let peak = self.retire(workers);
        self.measured.end(watch, staged, peak).await?;

        if !self.setup.keeps_files {
            batch.remove(&self.s3)?;
        }
        let mut workers = self.workers("mark-duplicates")?;
        let watch = self.measured.begin("mark").await?;
        let plan = workers[0].invoke(&json!({ "job_id": job, "attempt": attempt })).await?;
        let chunks = numbers(&plan["chunks"]);
        let inputs = chunks.iter().map(|n| json!({ "job_id": job, "attempt": attempt, "chunk": n }));
        let workers = map(workers, inputs.collect()).await?;
        let peak = self.retire(workers);
        self.measured.end(watch, staged, peak).await?;

        if self.wants(Part::Limit) {
            let limits =
                limit::load_and_mark(&self.measured.bench, JobId(job_id), &batch.expected, streams).await?;
            self.limits.extend(limits);
        }
        Ok((JobId(job_id), attempt, chunks.len() as u64))
    }

    /// Validates, approves, inserts, verifies and closes.
    async fn insert(&mut self, job: JobId, attempt: Value) -> Outcome<(Operator, Option<readers::Compared>)> {
        let expected = &self.setup.batch.expected;
        let merchant = self.setup.batch.merchant;
        let step = json!({ "job_id": job, "attempt": attempt });
        let mut worker = self.worker("validate-import")?;
        let watch = self.measured.begin("validate").await?;
        let validated = worker.invoke(&step).await?;
        self.measured.end(watch, expected.staged, worker.peak_bytes).await?;
        compare(&validated["mark"], expected)?;
        let wait = json!({ "job_id": job, "attempt": attempt, "task_token": "bench" });
        worker.invoke(&wait).await?;
        self.measured.retire(worker);
        let operator = Operator::new(&self.measured.bench, merchant).await?;
        operator.approve(job, expected).await?;

        let idle = if self.wants(Part::Readers) {
            say("Readers without an insert");
            let readers = Readers::start(&self.measured.bench, merchant, job).await?;
            tokio::time::sleep(IDLE).await;
            Some(readers.finish().await?)
        } else {
            None
        };
        let mut worker = self.worker("insert-codes")?;
        let during = match idle {
            Some(_) => Some(Readers::start(&self.measured.bench, merchant, job).await?),
            None => None,
        };
        let watch = self.measured.begin("insert").await?;
        worker.invoke(&step).await?;
        let peak = self.measured.retire(worker);
        self.measured.end(watch, expected.clean, peak).await?;
        let readers = match (idle, during) {
            (Some(idle), Some(during)) => Some(readers::Compared { idle, during: during.finish().await? }),
            _ => None,
        };

        let mut worker = self.worker("verify-import")?;
        let watch = self.measured.begin("verify").await?;
        let verified = worker.invoke(&json!({ "job_id": job })).await?;
        let peak = self.measured.retire(worker);
        self.measured.end(watch, expected.clean, peak).await?;
        if verified["verified"] != json!(true) {
            return Err(format!("verification says {verified}").into());
        }
        let mut worker = self.worker("close-import")?;
        worker.invoke(&json!({ "job_id": job, "attempt": attempt, "execution_arn": "bench" })).await?;
        self.measured.retire(worker);
        let mut worker = self.worker("verify-import")?;
        worker.invoke(&json!({ "job_id": job, "tidy_up": true })).await?;
        self.measured.retire(worker);
        if self.wants(Part::Limit) {
            self.limits.push(limit::insert(&self.measured.bench, job, expected.clean).await?);
        }
        Ok((operator, readers))
    }

    /// The export of the duplicates, which an import starts at its end, and the report of every row, which an operator asks
    /// for. Answers how many parts the first was uploaded in.
    async fn export(&mut self, operator: &Operator, job: JobId) -> Outcome<u64> {
        let expected = &self.setup.batch.expected;
        let duplicates = expected.staged - expected.clean;
        let (worker, exported) = self.export_one(job, "export", ExportKind::Duplicates, duplicates).await?;
        self.measured.retire(worker);
        if self.wants(Part::Limit) {
            let rows = duplicates.min(expected.clean);
            self.limits.push(limit::export(&self.measured.bench, job, rows).await?);
        }
        operator.export(job, ExportKind::Report).await?;
        // Nobody retires its worker: the cost is that of an import, which comes without it.
        self.export_one(job, "report", ExportKind::Report, expected.staged).await?;
        let sizes =
            exported["files"].as_array().into_iter().flatten().filter_map(|file| file["bytes"].as_u64());
        Ok(sizes.map(|bytes| bytes.div_ceil(PART_BYTES)).sum())
    }

    async fn export_one(
        &mut self,
        job: JobId,
        stage: &'static str,
        kind: ExportKind,
        rows: u64,
    ) -> Outcome<(Worker, Value)> {
        let mut worker = self.worker("export-report")?;
        let task = self.measured.bench.task(job, &format!("kind = '{kind}'")).await?;
        let watch = self.measured.begin(stage).await?;
        let exported = worker.invoke(&json!({ "task_id": task, "job_id": job })).await?;
        self.measured.end(watch, rows, worker.peak_bytes).await?;
        equal(stage, &exported["rows"], rows)?;
        Ok((worker, exported))
    }

    /// What an operator asks for when the import was wrong: its staging cleared, its codes taken back.
    async fn undo(&mut self, operator: &Operator, job: JobId) -> Outcome<()> {
        let expected = &self.setup.batch.expected;
        let watch = self.measured.begin("clear").await?;
        operator.clear(job).await?;
        self.measured.end(watch, expected.staged, 0).await?;

        let mut worker = self.worker("rollback-import")?;
        operator.roll_back(job).await?;
        let task = self.measured.bench.task(job, "action = 'rollback'").await?;
        let watch = self.measured.begin("rollback").await?;
        let rolled_back = worker.invoke(&json!({ "task_id": task, "job_id": job })).await?;
        let peak = self.measured.retire(worker);
        self.measured.end(watch, expected.clean, peak).await?;
        equal("deleted codes", &rolled_back["codes_deleted"], expected.clean)
    }

    fn retire(&mut self, workers: Vec<Worker>) -> u64 {
        workers.into_iter().map(|worker| self.measured.retire(worker)).max().unwrap_or_default()
    }
}

fn numbers(list: &Value) -> Vec<i64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
}

/// A Map state: every worker takes the next item until none is left.
async fn map(workers: Vec<Worker>, items: VecDeque<Value>) -> Outcome<Vec<Worker>> {
    let items = Arc::new(Mutex::new(items));
    let mut running = tokio::task::JoinSet::new();
    for mut worker in workers {
        let items = Arc::clone(&items);
        running.spawn(async move {
            loop {
                let next = items.lock().map_err(|_| "poisoned")?.pop_front();
                let Some(item) = next else { return Outcome::Ok(worker) };
                worker.invoke(&item).await?;
            }
        });
    }
    let mut workers = Vec::new();
    while let Some(done) = running.join_next().await {
        workers.push(done??);
    }
    Ok(workers)
}

fn compare(mark: &Value, expected: &Expected) -> Outcome<()> {
    let pairs = [
        ("total_rows", expected.staged),
        ("internal_duplicates", expected.internal_duplicates),
        ("database_duplicates", expected.database_duplicates),
        ("both_duplicates", expected.both_duplicates),
        ("clean_count", expected.clean),
    ];
    pairs.into_iter().try_for_each(|(name, wanted)| equal(name, &mark[name], wanted))
}

fn equal(what: &str, found: &Value, wanted: u64) -> Outcome<()> {
    if found.as_u64() == Some(wanted) {
        return Ok(());
    }
    Err(format!("{what}: {found}, {wanted} expected").into())
}
