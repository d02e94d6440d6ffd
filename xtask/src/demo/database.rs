//! Inserts the demo's earlier codes into the database, and counts in its tables afterwards.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::generate::{Codes, LayoutKind, Plan, copy_lines};
use crate::{Context, Error, Result, interrupt};

pub(super) struct Psql {
    pub program: PathBuf,
    pub url: String,
}

/// The merchant's codes before the import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    pub merchant_total: u64,
    /// How many of the batch's new codes are already in production: none, or all of them after an earlier demo.
    pub existing_new_codes: u64,
}

/// The counts of the tables after the import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct After {
    pub merchant_total: u64,
    pub codes_of_job: u64,
    pub rejects_by_reason: BTreeMap<String, u64>,
}

impl Psql {
    /// Inserts the plan's production codes that are missing in `codes`, and counts the merchant's codes.
    pub(super) fn load_production(&self, plan: &Plan) -> Result<Before> {
        let codes = Codes::new(plan.seed, plan.layout == LayoutKind::Mixed);
        let merchant = &plan.merchant_id;
        let (old, all) = (plan.production, plan.production + plan.clean());
        let rows = self.run_script(|out| {
            writeln!(out, "BEGIN;")?;
            writeln!(out, "CREATE TEMP TABLE demo_codes (code text COLLATE \"C\") ON COMMIT DROP;")?;
            writeln!(out, "CREATE TEMP TABLE demo_new (code text COLLATE \"C\") ON COMMIT DROP;")?;
            writeln!(out, "COPY demo_codes (code) FROM STDIN;")?;
            copy_lines(&codes, 0..old, out)?;
            writeln!(out, "\\.\nCOPY demo_new (code) FROM STDIN;")?;
            copy_lines(&codes, old..all, out)?;
            writeln!(out, "\\.")?;
            writeln!(
                out,
                "INSERT INTO onceload.codes (merchant_id, code, source) SELECT '{merchant}', code, 'demo' FROM demo_codes \
                 ORDER BY code ON CONFLICT DO NOTHING;"
            )?;
            writeln!(out, "SELECT count(*) FROM onceload.codes WHERE merchant_id = '{merchant}';")?;
            writeln!(
                out,
                "SELECT count(*) FROM demo_new n JOIN onceload.codes c ON c.merchant_id = '{merchant}' AND c.code COLLATE \"C\" = n.code;"
            )?;
            // The table behind a view.
            writeln!(out, "COMMIT;\nSELECT onceload.codes_table() AS codes \\gset\nVACUUM (ANALYZE) :codes;")
        })?;
        match rows.as_slice() {
            [total, existing] => {
                Ok(Before { merchant_total: parse_count(total)?, existing_new_codes: parse_count(existing)? })
            }
            other => Err(Error::advice(format!("psql printed {other:?} instead of two counts"))),
        }
    }

    /// Counts in the tables, independently of the import's own counts.
    pub(super) fn count_after(&self, merchant: &str, job_id: &str) -> Result<After> {
        let rows = self.run_script(|out| {
            writeln!(out, "SELECT count(*) FROM onceload.codes WHERE merchant_id = '{merchant}';")?;
            writeln!(
                out,
                "SELECT count(*) FROM onceload.codes WHERE merchant_id = '{merchant}' AND import_job_id = '{job_id}';"
            )?;
            writeln!(
                out,
                "SELECT reason || ' ' || count(*) FROM onceload.import_rejects WHERE job_id = '{job_id}' GROUP BY reason;"
            )
        })?;
        let [total, of_job, rejects @ ..] = rows.as_slice() else {
            return Err(Error::advice(format!("psql printed {rows:?} instead of two counts")));
        };
        let mut after = After {
            merchant_total: parse_count(total)?,
            codes_of_job: parse_count(of_job)?,
            rejects_by_reason: BTreeMap::new(),
        };
        for line in rejects {
            let (reason, count) = line.split_once(' ').unwrap_or((line, ""));
            after.rejects_by_reason.insert(reason.to_owned(), parse_count(count)?);
        }
        Ok(after)
    }

    /// Runs a script, stops at its first error, and returns the lines that psql prints.
    pub(super) fn run_script(
        &self,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Vec<String>> {
        let mut child = Command::new(&self.program)
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url])
            .env("PGCLIENTENCODING", "UTF8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| format!("run {}", self.program.display()))?;
        let written = child.stdin.take().map_or(Ok(()), |stdin| {
            let mut out = BufWriter::with_capacity(1 << 18, stdin);
            write(&mut out).and_then(|()| out.flush())
        });
        let output = child.wait_with_output().context(|| "wait for psql")?;
        if !output.status.success() {
            interrupt::check()?;
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::advice(format!("psql failed ({}): {message}", output.status)));
        }
        written.context(|| "write to psql")?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

fn parse_count(text: &str) -> Result<u64> {
    text.trim().parse().context(|| format!("parse `{text}` as a count"))
}
