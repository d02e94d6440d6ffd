//! The generated files of a run. They are gone when this is.

use crate::Outcome;
use crate::report::say;
use onceload_tests::TestS3;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;
use uuid::Uuid;
use xtask::generate::{Expected, PRODUCTION, Plan, generate_with, grouped};
use xtask::project;

#[derive(Debug)]
pub(crate) struct Batch {
    pub plan: Plan,
    pub expected: Expected,
    pub merchant: Uuid,
    pub directory: PathBuf,
}

impl Batch {
    /// The workload at so many rows, with the shares of the full one.
    pub(crate) fn generate(rows: u64) -> Outcome<Self> {
        let plan = Plan::workload_of(rows);
        let merchant = Uuid::parse_str(&plan.merchant_id)?;
        let directory = project::target().join(format!("bench-{rows}"));
        let _ = std::fs::remove_dir_all(&directory);
        say(&format!("Generating {} rows in {} files", grouped(plan.rows), plan.files));
        let live = std::io::stdout().is_terminal();
        let mut last = Instant::now();
        let expected = generate_with(&plan, &directory, |files, records| {
            if live && last.elapsed().as_secs() >= 1 {
                print!(
                    "\r  file {files} of {}, {} of {} rows",
                    plan.files,
                    grouped(records),
                    grouped(plan.rows)
                );
                last = Instant::now();
            }
        })?;
        Ok(Self { plan, expected, merchant, directory })
    }

    /// Where the files are in S3.
    pub(crate) fn prefix(&self) -> String {
        format!("uploads/{}/batch/", self.merchant)
    }

    /// A copy of nothing: S3 reads the files from where they lie.
    pub(crate) fn put(&self, s3: &TestS3) {
        for file in &self.expected.files {
            s3.put_file(&format!("{}{}", self.prefix(), file.name), &self.directory.join(&file.name));
        }
    }

    /// The files are loaded: their disk is wanted for what comes next.
    pub(crate) fn remove(&self, s3: &TestS3) -> Outcome<()> {
        for file in &self.expected.files {
            s3.remove(&format!("{}{}", self.prefix(), file.name));
            std::fs::remove_file(self.directory.join(&file.name))?;
        }
        Ok(())
    }

    /// GET requests for the files so far.
    pub(crate) fn reads(&self, s3: &TestS3) -> u64 {
        self.expected
            .files
            .iter()
            .map(|file| u64::from(s3.reads(&format!("{}{}", self.prefix(), file.name))))
            .sum()
    }

    /// One code a line, as COPY takes them.
    pub(crate) fn production(&self) -> PathBuf {
        self.directory.join(PRODUCTION)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
