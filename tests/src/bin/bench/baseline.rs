//! The old way, on the same server in a database of its own: psql, file by file, into an indexed staging table.
//!
//! Each stage is one run of psql or, for loading, one for each file. The files are unpacked beforehand and short
//! records filled up, which psql can't do and which is not in the times: in the old way's favour. So is an ANALYZE
//! after loading. Server settings are the same as ours; the sessions have none of their own, as it was.

mod sql;

use crate::Outcome;
use crate::batch::Batch;
use crate::database::{self, Server, number, text};
use crate::plain::PlainFile;
use crate::report::{Stage, say};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_postgres::Client;
use xtask::generate::{Expected, grouped};

const DATABASE: &str = "onceload_bench_baseline";

#[derive(Debug, Serialize)]
pub(crate) struct Baseline {
    pub rows: u64,
    pub production_before: u64,
    /// What stands for en_US on this server.
    pub collation: String,
    pub stages: Vec<Stage>,
}

impl Baseline {
    pub(crate) fn seconds_per_row(&self, stage: &str) -> Option<f64> {
        let found = self.stages.iter().find(|it| it.stage == stage)?;
        Some(found.seconds / found.rows as f64)
    }

    /// Of the stages that end with the codes in production, by row of the files.
    pub(crate) fn cycle_seconds_per_row(&self) -> f64 {
        let cycle = self.stages.iter().filter(|it| crate::report::CYCLE.contains(&it.stage));
        cycle.map(|it| it.seconds).sum::<f64>() / self.rows as f64
    }

    pub(crate) fn print(&self) {
        println!(
            "\nthe old way: {} rows against {} existing codes, collation {}",
            grouped(self.rows),
            grouped(self.production_before),
            self.collation
        );
        for stage in &self.stages {
            println!(
                "{:<10} {:>12} {:>9.2} {:>12.0} {:>31} {:>19.0}",
                stage.stage,
                grouped(stage.rows),
                stage.seconds,
                stage.rows as f64 / stage.seconds,
                "",
                stage.wal_bytes as f64 / 1e6
            );
        }
    }
}

/// The old way's import of a batch, with the counts compared.
pub(crate) async fn measure(server: &Server, batch: &Batch, plain: &[PlainFile]) -> Outcome<Baseline> {
    let expected = &batch.expected;
    server.create(DATABASE).await?;
    let mut admin = server.administer(DATABASE).await?;
    let collation = collation(&admin).await?;
    say(&format!("The old way: {} codes into production", grouped(batch.plan.production)));
    admin.batch_execute(&sql::tables(&collation)).await?;
    let tx = admin.transaction().await?;
    database::copy_file(&tx, "COPY codes (code) FROM STDIN", &batch.production()).await?;
    tx.commit().await?;
    admin.batch_execute(&sql::indexes()).await?;
    // Each on its own: VACUUM refuses to run beside another statement.
    admin.batch_execute("VACUUM (ANALYZE) codes").await?;
    let production_before = number(&admin, "SELECT count(*) FROM codes").await?;
    let mut old = Old { psql: Psql::of(server)?, admin, stages: Vec::new() };

    old.load(plain, expected).await?;
    let found = old.stage("mark", expected.staged, &sql::mark(expected.staged)).await?;
    old.compare(expected, &found).await?;
    let found = old.stage("validate", expected.staged, sql::VALIDATE).await?;
    same("old way: codes that appeared meanwhile", found.numbers.first().copied(), 0)?;
    let found = old.stage("insert", expected.clean, sql::INSERT).await?;
    same("old way: inserted codes", found.rows("INSERT"), expected.clean)?;
    let duplicates = expected.staged - expected.clean;
    let target = batch.directory.join("old-way-duplicates.csv");
    let found = old.stage("export", duplicates, &sql::export(&target)).await?;
    same("old way: exported duplicates", found.rows("COPY"), duplicates)?;
    let found = old.stage("clear", expected.staged, sql::CLEAR).await?;
    same("old way: cleared rows", found.rows("DELETE"), expected.staged)?;
    let found = old.stage("rollback", expected.clean, sql::ROLLBACK).await?;
    same("old way: deleted codes", found.rows("DELETE"), expected.clean)?;
    let stages = old.stages;
    server.drop(DATABASE).await?;
    Ok(Baseline { rows: expected.staged, production_before, collation, stages })
}

/// en_US from the C library, or else from ICU, or else none at all.
async fn collation(admin: &Client) -> Outcome<String> {
    let sql = "SELECT coalesce((SELECT collname::text FROM pg_collation
        WHERE collname IN ('en_US', 'en_US.utf8', 'en-US-x-icu') AND collencoding IN (-1, 6)
        ORDER BY array_position(ARRAY['en_US', 'en_US.utf8', 'en-US-x-icu'], collname::text) LIMIT 1), 'C')";
    text(admin, sql).await
}

fn same(what: &str, found: Option<u64>, wanted: u64) -> Outcome<()> {
    match found {
        Some(found) if found == wanted => Ok(()),
        found => Err(format!("{what}: {found:?}, {wanted} expected").into()),
    }
}

struct Old {
    psql: Psql,
    admin: Client,
    stages: Vec<Stage>,
}

impl Old {
    async fn load(&mut self, plain: &[PlainFile], expected: &Expected) -> Outcome<()> {
        say("The old way: load");
        let wal = database::wal(&self.admin).await?;
        let started = Instant::now();
        let mut rows = 0;
        for file in plain {
            rows += self.psql.run(&sql::load(file)).await?.rows("INSERT").unwrap_or_default();
        }
        self.psql.run("ANALYZE codes_check_temp;").await?;
        self.note("load", expected.staged, started, wal).await?;
        same("old way: staged rows", Some(rows), expected.staged)
    }

    async fn stage(&mut self, stage: &'static str, rows: u64, script: &str) -> Outcome<Said> {
        say(&format!("The old way: {stage}"));
        let wal = database::wal(&self.admin).await?;
        let started = Instant::now();
        let said = self.psql.run(script).await?;
        self.note(stage, rows, started, wal).await?;
        Ok(said)
    }

    async fn note(&mut self, stage: &'static str, rows: u64, started: Instant, wal: u64) -> Outcome<()> {
        let seconds = started.elapsed().as_secs_f64();
        let wal_bytes = database::wal(&self.admin).await? - wal;
        self.stages.push(Stage { stage, rows, seconds, peak_bytes: 0, wal_bytes });
        Ok(())
    }

    async fn compare(&self, expected: &Expected, marked: &Said) -> Outcome<()> {
        let said: u64 = marked.tags.iter().filter(|(tag, _)| tag == "UPDATE").map(|(_, rows)| rows).sum();
        let (internal, existing) = (expected.internal_duplicates, expected.database_duplicates);
        same("old way: flags set", Some(said), internal + existing)?;
        for (what, condition, wanted) in [
            ("internal duplicates", "internal_dup", internal),
            ("existing duplicates", "existing_dup", existing),
            ("of both kinds", "internal_dup AND existing_dup", expected.both_duplicates),
            ("clean", "NOT internal_dup AND NOT existing_dup", expected.clean),
        ] {
            let sql = format!("SELECT count(*) FROM codes_check_temp WHERE {condition}");
            same(&format!("old way: {what}"), Some(number(&self.admin, &sql).await?), wanted)?;
        }
        Ok(())
    }
}

/// What psql printed: command tags with their row counts, and rows that are one number.
#[derive(Debug)]
struct Said {
    tags: Vec<(String, u64)>,
    numbers: Vec<u64>,
}

impl Said {
    /// Of the last command of this kind.
    fn rows(&self, tag: &str) -> Option<u64> {
        self.tags.iter().rev().find(|(found, _)| found == tag).map(|(_, rows)| *rows)
    }
}

struct Psql {
    program: PathBuf,
    port: String,
    user: String,
    password: String,
}

impl Psql {
    fn of(server: &Server) -> Outcome<Self> {
        let bin = std::env::var("ONCELOAD_TEST_PG_BIN").map_err(|_| "run `cargo xtask bench`")?;
        Ok(Self {
            program: xtask::postgres::find_psql(Path::new(&bin)).ok_or("the old way needs psql")?,
            port: server.port.to_string(),
            user: server.administrator.clone(),
            password: server.password.clone().unwrap_or_default(),
        })
    }

    async fn run(&self, script: &str) -> Outcome<Said> {
        let mut child = Command::new(&self.program)
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &self.port])
            .args(["-U", &self.user, "-d", DATABASE])
            .env("PGPASSWORD", &self.password)
            .env("PGCLIENTENCODING", "UTF8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        child.stdin.take().ok_or("no stdin")?.write_all(script.as_bytes()).await?;
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            return Err(format!("psql failed with {}", output.status).into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut said = Said { tags: Vec::new(), numbers: Vec::new() };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match (words.as_slice(), words.last().and_then(|word| word.parse().ok())) {
                ([_], Some(number)) => said.numbers.push(number),
                ([tag, ..], Some(rows)) => said.tags.push(((*tag).to_owned(), rows)),
                _ => {}
            }
        }
        Ok(said)
    }
}
