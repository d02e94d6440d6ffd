//! `cargo xtask demo`: imports generated files on the local stack, and compares every count of the import with the count
//! that the generator planned.

pub mod adopt;
mod api;
mod database;
mod job;
mod live;
mod report;
mod sweep;
mod upload;
mod watch;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::adopt::Application;
use self::api::Api;
use self::database::{Before, Psql};
use self::job::Job;
use self::report::Comparison;
use self::upload::Uploader;
use self::watch::Watch;
use crate::generate::{self, Compression, Expected, LayoutKind, Plan, grouped};
use crate::provision::Merchant;
use crate::stack::{self, Options, Stack, User};
use crate::{Context, Error, Result, project, say};

/// Import generated files on the local stack, and compare every count with the expected one
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Records in the files
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(500..))]
    rows: u64,
    /// Import into the table of an application that has codes of its own and claims them all the time
    #[arg(long)]
    adopt: bool,
    /// Leave the stack running
    #[arg(long)]
    keep: bool,
}

/// The demo's batch: eight files of different layouts, with every kind of record. Each number of rows has codes of its
/// own, so that demos of different sizes don't affect each other.
fn new_plan(rows: u64, merchant_id: &str) -> Plan {
    Plan {
        seed: 20_260_101 ^ (rows << 20),
        merchant_id: merchant_id.to_owned(),
        rows,
        files: 8,
        internal: rows / 50,
        existing: rows / 4,
        both: rows / 5_000 + 1,
        rejects: rows / 400,
        skipped: rows / 800,
        production: rows * 2 / 5,
        layout: LayoutKind::Mixed,
        compression: Compression::Mixed,
    }
}

/// Brings the stack up, runs the demo, and stops what it started unless `--keep` is given.
pub fn run(args: &DemoArgs) -> Result<()> {
    // Its `onceload.codes` is another one.
    let directory = if args.adopt { project::adopted() } else { project::local() };
    let stack = stack::up(&directory, &Options::default())?;
    let outcome = Demo::new(&stack, args.rows)
        .and_then(|demo| if args.adopt { demo.run_beside_an_application() } else { demo.run() });
    let interrupted = matches!(outcome, Err(Error::Interrupted));
    if stack.started && (interrupted || !args.keep) {
        let stopped = stack::down(&stack.directory, false);
        say::line("Stopped the stack. The database stays for the next run.");
        outcome?;
        stopped.map(drop)
    } else {
        stack.describe();
        outcome
    }
}

/// One run of the demo: the stack, the user, the merchant and the batch.
struct Demo<'a> {
    stack: &'a Stack,
    user: &'a User,
    merchant: &'a Merchant,
    plan: Plan,
}

impl<'a> Demo<'a> {
    /// Takes the first user, who is a member of the first merchant.
    fn new(stack: &'a Stack, rows: u64) -> Result<Self> {
        match (stack.file.users.first(), stack.file.merchants.first()) {
            (Some(user), Some(merchant)) => {
                Ok(Self { stack, user, merchant, plan: new_plan(rows, &merchant.merchant_id) })
            }
            _ => Err(Error::advice("the local stack has no demo user or no merchant")),
        }
    }

    /// Adopts the table of an application, which claims codes during the import.
    fn run_beside_an_application(&self) -> Result<()> {
        let psql = self.psql();
        adopt::adopt(self.stack, &psql, &self.merchant.merchant_id)?;
        let application = Application::start(&psql)?;
        self.run()?;
        let claims = application.finish(&psql)?;
        say::result(format_args!(
            "The application went on claiming: {claims} claims, and each claimed code has exactly one. Its codes and the \
             imported ones are rows of public.promo_codes."
        ));
        Ok(())
    }

    fn psql(&self) -> Psql {
        Psql { program: self.stack.psql(), url: self.stack.file.database_url.clone() }
    }

    fn run(&self) -> Result<()> {
        let files = self.stack.directory.join("demo");
        let generated = self.generate(&files)?;
        let psql = self.psql();
        let (before, expected) = self.prepare(&psql, &generated)?;
        let first = expected.clean > 0;

        let api = Api::new(&self.stack.file.api_url, &self.user.token);
        let sweep = || sweep::run_sweep(self.stack);
        let mut watch = Watch::new(&api, &sweep);
        let job = self.import(&api, &mut watch, &files, &expected)?;
        let after = psql.count_after(&self.merchant.merchant_id, &job.job_id)?;
        let comparison =
            Comparison::after_completion(&expected, &job, &api.files(&job.job_id)?, before, &after);
        self.write_json(&report::to_json(&comparison, &job, first, &watch.phases))?;
        say::result(format_args!("\n{}", comparison.table()));
        let phases: Vec<String> =
            watch.phases.iter().map(|(name, seconds)| format!("{name} {seconds:.1} s")).collect();
        say::result(format_args!("Time: {}", phases.join(", ")));
        if !comparison.is_equal() {
            return Err(Error::advice(format!(
                "the counts of import {} differ from the generator's; logs: {}",
                job.job_id,
                self.stack.logs().display()
            )));
        }
        say::result(self.conclusion(&expected, first));
        Ok(())
    }

    fn generate(&self, files: &Path) -> Result<Expected> {
        let step = say::step(format!("Generating {} records", grouped(self.plan.rows)));
        let expected = generate::generate_with(&self.plan, files, |_, records| {
            step.progress(format_args!("{} records", grouped(records)));
        })?;
        let bytes = expected.files.iter().map(|file| file.bytes).sum();
        step.done(format_args!(
            "{} files, {}, in {}",
            expected.files.len(),
            live::megabytes(bytes),
            files.display()
        ));
        Ok(expected)
    }

    /// Inserts the codes that the merchant had before, and finds out whether this batch was imported earlier: then
    /// none of its codes may be new.
    fn prepare(&self, psql: &Psql, generated: &Expected) -> Result<(Before, Expected)> {
        let step = say::step(format!("Loading the codes that {} already has", self.merchant.name));
        let before = psql.load_production(&self.plan)?;
        step.done(format_args!("{} in production", grouped(before.merchant_total)));
        match before.existing_new_codes {
            0 => Ok((before, generated.clone())),
            all if all == generated.clean => {
                say::line(
                    "These files were imported before. All of their codes are in production, so none may be new.",
                );
                Ok((before, generated.imported_again()))
            }
            some => Err(Error::advice(format!(
                "{} of the {} new codes of these files are already in production, so somebody has changed the database \
                 since an earlier demo; `cargo xtask down --wipe` removes it",
                grouped(some),
                grouped(generated.clean)
            ))),
        }
    }

    /// Uploads the files and follows the import to its end. An interrupt cancels the import, so that it doesn't block
    /// the next one.
    fn import(&self, api: &Api, watch: &mut Watch<'_>, files: &Path, expected: &Expected) -> Result<Job> {
        let merchant_id = &self.merchant.merchant_id;
        let known: BTreeSet<String> = api.imports(merchant_id)?.into_iter().map(|job| job.job_id).collect();
        let batch = new_batch_name();
        let started = Instant::now();
        let outcome = self.upload(watch, files, &batch).and_then(|()| {
            let job = watch.wait_for_job(merchant_id, &known, &batch)?;
            say::line(format_args!("Import {} has started", job.job_id));
            let job = watch.follow(&job.job_id, |job| job.is_final() || job.is_waiting())?;
            if !job.is_waiting() {
                return Ok(job);
            }
            self.approve(api, &job, expected)?;
            watch.follow(&job.job_id, |job| job.is_final() || job.is_waiting())
        });
        if matches!(outcome, Err(Error::Interrupted)) {
            cancel_imports(api, merchant_id, &batch);
        }
        let job = outcome?;
        if job.status != "completed" {
            return Err(Error::advice(format!(
                "{}\nlogs: {}",
                report::describe_failure(&job),
                self.stack.logs().display()
            )));
        }
        say::line(format_args!("Completed in {}", say::Seconds(started.elapsed())));
        Ok(job)
    }

    /// Uploads the files and then the manifest, whose event starts the import.
    fn upload(&self, watch: &mut Watch<'_>, files: &Path, batch: &str) -> Result<()> {
        let prefix = format!("stage/{}/{batch}", self.merchant.merchant_id);
        let uploader = Uploader { stack: self.stack, prefix: prefix.clone() };
        let step = say::step("Uploading");
        uploader.upload_files(files)?;
        uploader.upload_manifest(files)?;
        watch.phases.add("upload", step.elapsed());
        step.done(format_args!(
            "s3://{}/{prefix}/, and last the manifest, which starts the import",
            self.stack.file.bucket
        ));
        Ok(())
    }

    /// Shows the summary that an operator sees, and approves only the expected counts.
    fn approve(&self, api: &Api, job: &Job, expected: &Expected) -> Result<()> {
        say::result(format_args!("\n{}", report::summary(job, &self.merchant.name)));
        let comparison = Comparison::before_approval(expected, job);
        if !comparison.is_equal() {
            say::result(comparison.table());
            return Err(Error::advice(format!(
                "did not approve import {}, because its counts differ from the generator's; logs: {}",
                job.job_id,
                self.stack.logs().display()
            )));
        }
        let clean = job.counts.clean.unwrap_or(0);
        say::line(format_args!("{} approves {} clean codes", self.user.email, grouped(clean)));
        api.approve(&job.job_id, clean)
    }

    fn write_json(&self, value: &serde_json::Value) -> Result<()> {
        let path = self.stack.directory.join("demo.json");
        let text = serde_json::to_string_pretty(value).context(|| "render demo.json")?;
        fs::write(&path, text + "\n").context(|| format!("write {}", path.display()))
    }

    fn conclusion(&self, expected: &Expected, first: bool) -> String {
        if first {
            format!(
                "All counts are equal: {} new codes of {} are in production, verified.",
                grouped(expected.clean),
                self.merchant.name
            )
        } else {
            format!(
                "No clean codes to insert: {1} has had the codes of all {0} staged rows in production since these \
                 files were first imported. Each row is an existing duplicate, and 0 were inserted. \
                 All counts are equal.",
                grouped(expected.staged),
                self.merchant.name
            )
        }
    }
}

/// Cancels the imports of this run and waits up to 20 seconds for them to end. The sweep closes an import that remains.
fn cancel_imports(api: &Api, merchant_id: &str, batch: &str) {
    let ours = |job: &Job| job.source.to_string().contains(batch) && !job.is_final();
    let mut cancelled = BTreeSet::new();
    for _ in 0..40 {
        let Ok(mut jobs) = api.imports(merchant_id) else { return };
        jobs.retain(ours);
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            if cancelled.insert(job.job_id.clone()) {
                say::line(format_args!("Cancelling import {}", job.job_id));
                let _ = api.cancel(&job.job_id);
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Names the batch of this run. Names sort by time.
fn new_batch_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("demo-{}", now.as_millis())
}
