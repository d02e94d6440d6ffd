//! `cargo xtask demo`: generated files go through the local stack end to end, and every number that the
//! import reports is compared with the one that the generator knew beforehand.

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

/// Import generated files on the local stack and compare every count with what it must be.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Records in the files
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(500..))]
    rows: u64,
    /// Leave running what was started
    #[arg(long)]
    keep: bool,
}

/// The demo's batch: eight files that differ in everything that may differ, with some of every kind of
/// record. Other numbers get other codes, so that demos of different sizes don't disturb each other.
fn plan(rows: u64, merchant_id: &str) -> Plan {
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

/// Brings the stack up, runs the demo, and stops what it started unless it shall stay.
pub fn run(args: &DemoArgs) -> Result<()> {
    let stack = stack::up(&project::local(), &Options::default())?;
    let outcome = Demo::new(&stack, args.rows).and_then(|demo| demo.run());
    let interrupted = matches!(outcome, Err(Error::Interrupted));
    if stack.started && (interrupted || !args.keep) {
        let stopped = stack::down(&stack.directory, false);
        say::line("Stopped what was started; the database stays for the next run.");
        outcome?;
        stopped.map(drop)
    } else {
        stack.describe();
        outcome
    }
}

/// What there is to do, and with whom.
struct Demo<'a> {
    stack: &'a Stack,
    user: &'a User,
    merchant: &'a Merchant,
    plan: Plan,
}

impl<'a> Demo<'a> {
    /// As the first user, for the first merchant: they belong together.
    fn new(stack: &'a Stack, rows: u64) -> Result<Self> {
        match (stack.file.users.first(), stack.file.merchants.first()) {
            (Some(user), Some(merchant)) => {
                Ok(Self { stack, user, merchant, plan: plan(rows, &merchant.merchant_id) })
            }
            _ => Err(Error::advice("the local stack has no demo user or no merchant")),
        }
    }

    fn run(&self) -> Result<()> {
        let files = self.stack.directory.join("demo");
        let generated = self.generate(&files)?;
        let psql = Psql { program: self.stack.psql(), url: self.stack.file.database_url.clone() };
        let (before, expected) = self.prepare(&psql, &generated)?;
        let first = expected.clean > 0;

        let api = Api::new(&self.stack.file.api_url, &self.user.token);
        let sweep = || sweep::sweep(self.stack);
        let mut watch = Watch::new(&api, &sweep);
        let job = self.import(&api, &mut watch, &files, &expected)?;
        let after = psql.look(&self.merchant.merchant_id, &job.job_id)?;
        let comparison = Comparison::at_the_end(&expected, &job, &api.files(&job.job_id)?, before, &after);
        self.write_json(&report::to_json(&comparison, &job, first, &watch.phases))?;
        say::result(format_args!("\n{}", comparison.table()));
        let phases: Vec<String> =
            watch.phases.iter().map(|(name, seconds)| format!("{name} {seconds:.1} s")).collect();
        say::result(format_args!("Time: {}", phases.join(", ")));
        if !comparison.is_equal() {
            return Err(Error::advice(format!(
                "import {} counted otherwise than the generator; logs: {}",
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

    /// Brings the codes into production that the merchant has had all along, and finds out whether this
    /// very batch was imported before: then nothing of it may be new.
    fn prepare(&self, psql: &Psql, generated: &Expected) -> Result<(Before, Expected)> {
        let step = say::step(format!("Codes that {} has already", self.merchant.name));
        let before = psql.load_production(&self.plan)?;
        step.done(format_args!("{} in production", grouped(before.merchant_total)));
        match before.new_codes_there {
            0 => Ok((before, generated.clone())),
            all if all == generated.clean => {
                say::line(
                    "These files were imported before: all of their codes are in production, \
                     so this time nothing may be new",
                );
                Ok((before, generated.imported_again()))
            }
            some => Err(Error::advice(format!(
                "{} of the {} new codes of these files are in production already: an earlier demo was changed by \
                 hand. `cargo xtask down --wipe` makes a fresh database",
                grouped(some),
                grouped(generated.clean)
            ))),
        }
    }

    /// From the upload to the end of the import. An interrupt cancels it, so that the next one need not wait.
    fn import(&self, api: &Api, watch: &mut Watch<'_>, files: &Path, expected: &Expected) -> Result<Job> {
        let merchant_id = &self.merchant.merchant_id;
        let known: BTreeSet<String> = api.imports(merchant_id)?.into_iter().map(|job| job.job_id).collect();
        let batch = batch_name();
        let started = Instant::now();
        let outcome = self.upload(watch, files, &batch).and_then(|()| {
            let job = watch.appears(merchant_id, &known, &batch)?;
            say::line(format_args!("Import {} has started", job.job_id));
            let job = watch.until(&job.job_id, |job| job.is_final() || job.is_waiting())?;
            if !job.is_waiting() {
                return Ok(job);
            }
            self.approve(api, &job, expected)?;
            watch.until(&job.job_id, |job| job.is_final() || job.is_waiting())
        });
        if matches!(outcome, Err(Error::Interrupted)) {
            give_up(api, merchant_id, &batch);
        }
        let job = outcome?;
        if job.status != "completed" {
            return Err(Error::advice(format!(
                "{}\nlogs of the functions and the engine: {}",
                report::failure(&job),
                self.stack.logs().display()
            )));
        }
        say::line(format_args!("Completed in {}", say::Seconds(started.elapsed())));
        Ok(job)
    }

    /// The files, then the manifest, whose event starts the import.
    fn upload(&self, watch: &mut Watch<'_>, files: &Path, batch: &str) -> Result<()> {
        let prefix = format!("stage/{}/{batch}", self.merchant.merchant_id);
        let uploader = Uploader { stack: self.stack, prefix: prefix.clone() };
        let step = say::step("Uploading");
        uploader.files(files)?;
        uploader.manifest(files)?;
        watch.phases.add("upload", step.elapsed());
        step.done(format_args!(
            "s3://{}/{prefix}/, the manifest last: it starts the import",
            self.stack.file.bucket
        ));
        Ok(())
    }

    /// Shows what an operator would see, and says yes only to the numbers that must be there.
    fn approve(&self, api: &Api, job: &Job, expected: &Expected) -> Result<()> {
        say::result(format_args!("\n{}", report::summary(job, &self.merchant.name)));
        let comparison = Comparison::before_approval(expected, job);
        if !comparison.is_equal() {
            say::result(comparison.table());
            return Err(Error::advice(format!(
                "import {} is not approved: it counts otherwise than the generator; logs: {}",
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
                "No clean codes to insert: all {} staged rows hold codes that {} has in production since these \
                 files were first imported, so each of them is an existing duplicate, and 0 were inserted. \
                 All counts are equal.",
                grouped(expected.staged),
                self.merchant.name
            )
        }
    }
}

/// Cancels what this run has started and waits a little for it to end. Best effort: what stays behind the
/// sweep closes.
fn give_up(api: &Api, merchant_id: &str, batch: &str) {
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

/// A batch of its own for each run, readable and in order of time.
fn batch_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("demo-{}", now.as_millis())
}
