//! A peer: pgloader loads the same files into a table with our staging's columns, on the same server in a database of its own.
//!
//! In its favour, the files are unpacked and short records filled up beforehand, the table has neither an index nor the number that
//! tells a row's origin, no field is checked but by the server, and as many processes load at a time as ours. What pgloader does by
//! default is measured, too, into an ordinary table.

use crate::Outcome;
use crate::batch::Batch;
use crate::database::{Server, number};
use crate::plain::PlainFile;
use crate::report::say;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_postgres::Client;
use xtask::generate::{Expected, grouped};

const DATABASE: &str = "onceload_bench_peer";

/// What pgloader came to, or why it was left out.
#[derive(Debug, Serialize)]
pub(crate) enum Peer {
    Measured { version: String, rows: u64, loads: Vec<Load> },
    LeftOut(String),
}

/// One load of all files.
#[derive(Debug, Serialize)]
pub(crate) struct Load {
    pub how: &'static str,
    pub seconds: f64,
}

/// How pgloader is called.
struct Way {
    how: &'static str,
    /// Of the target.
    table: &'static str,
    /// More members of its clause WITH.
    options: &'static str,
    processes: usize,
}

/// pgloader(1): `workers` threads beside the reader; a batch is one COPY. Batches of 5,000 to 100,000 rows take the same time, within
/// 5 %: its processes are bound by the processor. Small ones need the least heap.
const TUNED: &str =
    ", workers = 2, concurrency = 1, batch rows = 5000, batch size = 2MB, prefetch rows = 10000";
/// Of SBCL, in MB: with less, pgloader dies of large files (`Heap exhausted`).
const HEAP: &str = "4096";
/// With some settings, such as `workers = 1`, it stops in the middle and waits for ever.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The columns of our staging.
const COLUMNS: &str = "code text COLLATE \"C\" NOT NULL, serial text, sku text, points integer, sku_name text, batch_code text, \
     price numeric(12, 2), window_start timestamptz, window_end timestamptz";

impl Peer {
    /// Of the fastest of its loads.
    pub(crate) fn seconds_per_row(&self) -> Option<f64> {
        let Self::Measured { rows, loads, .. } = self else { return None };
        loads.iter().map(|load| load.seconds / *rows as f64).min_by(f64::total_cmp)
    }

    pub(crate) fn print(&self) {
        match self {
            Self::LeftOut(why) => println!("\npgloader was left out: {why}"),
            Self::Measured { version, rows, loads } => {
                println!("\n{version}: the load of {} rows", grouped(*rows));
                for Load { how, seconds } in loads {
                    println!(
                        "{:<10} {:>12} {seconds:>9.2} {:>12.0}   {how}",
                        "load",
                        grouped(*rows),
                        *rows as f64 / seconds
                    );
                }
            }
        }
    }
}

/// pgloader's load of a batch, with the counts compared.
pub(crate) async fn measure(
    server: &Server,
    program: Result<PathBuf, String>,
    batch: &Batch,
    plain: &[PlainFile],
    streams: usize,
) -> Outcome<Peer> {
    let program = match program {
        Ok(program) => program,
        Err(why) => return Ok(Peer::LeftOut(why)),
    };
    let ways = [
        Way {
            how: "tuned, unlogged, in as many processes as ours",
            table: "UNLOGGED TABLE",
            options: TUNED,
            processes: streams,
        },
        Way { how: "by default, logged, in one process", table: "TABLE", options: "", processes: 1 },
    ];
    let version = Command::new(&program).arg("--version").output().await?.stdout;
    let version = String::from_utf8_lossy(&version).lines().next().unwrap_or_default().replace(['"'], "");
    server.create(DATABASE).await?;
    let admin = server.administer(DATABASE).await?;
    let peer = Pgloader { program, server, directory: &batch.directory };
    let mut loads = Vec::new();
    for way in &ways {
        say(&format!("pgloader, {}", way.how));
        admin
            .batch_execute(&format!("DROP TABLE IF EXISTS staging; CREATE {} staging ({COLUMNS})", way.table))
            .await?;
        let started = Instant::now();
        let loaded = timeout(PATIENCE, peer.load(way, plain)).await;
        if let Err(why) = loaded.map_err(Into::into).flatten() {
            return Ok(Peer::LeftOut(format!("{}: {why}", way.how)));
        }
        loads.push(Load { how: way.how, seconds: started.elapsed().as_secs_f64() });
        compare(&admin, &batch.expected).await?;
    }
    server.drop(DATABASE).await?;
    Ok(Peer::Measured { version, rows: batch.expected.staged, loads })
}

async fn compare(admin: &Client, expected: &Expected) -> Outcome<()> {
    for (what, counted, wanted) in [
        ("rows", "count(*)", expected.staged),
        ("codes", "count(DISTINCT code)", expected.staged - expected.internal_duplicates),
    ] {
        let found = number(admin, &format!("SELECT {counted} FROM staging")).await?;
        if found != wanted {
            return Err(format!("pgloader: {found} {what}, {wanted} expected").into());
        }
    }
    Ok(())
}

struct Pgloader<'a> {
    program: PathBuf,
    server: &'a Server,
    directory: &'a Path,
}

impl Pgloader<'_> {
    /// Every process gets the same number of files, in one script.
    async fn load(&self, way: &Way, plain: &[PlainFile]) -> Outcome<()> {
        let processes = (0..way.processes).map(|n| async move {
            let files = plain.iter().skip(n).step_by(way.processes);
            self.run(n, &files.map(|file| self.command(way, file)).collect::<String>()).await
        });
        futures_util::future::try_join_all(processes).await.map(drop)
    }

    /// What loads one file.
    fn command(&self, way: &Way, file: &PlainFile) -> String {
        let is_ours = |name: &str| COLUMNS.split(", ").any(|column| column.split(' ').next() == Some(name));
        let field = |name: &String| match name.as_str() {
            "code" => "code [trim both whitespace]".to_owned(),
            name => format!("{name} [null if blanks]"),
        };
        let fields: Vec<String> = file.columns.iter().map(field).collect();
        let targets: Vec<&str> = file.columns.iter().map(String::as_str).filter(|it| is_ours(it)).collect();
        let delimiter = match file.delimiter {
            b'\t' => "\\t".to_owned(),
            delimiter => char::from(delimiter).to_string(),
        };
        let mut command = String::new();
        let _ = writeln!(
            command,
            "LOAD CSV FROM '{}' WITH ENCODING UTF-8 HAVING FIELDS ({}) INTO postgresql://{}@127.0.0.1:{}/{DATABASE} \
             TARGET TABLE public.staging TARGET COLUMNS ({}) WITH skip header = 1, fields optionally enclosed by '\"', \
             fields escaped by double-quote, fields terminated by '{delimiter}'{};",
            file.path.display(),
            fields.join(", "),
            self.server.administrator,
            self.server.port,
            targets.join(", "),
            way.options
        );
        command
    }

    async fn run(&self, n: usize, script: &str) -> Outcome<()> {
        let path = self.directory.join(format!("pgloader-{n}.load"));
        std::fs::write(&path, script)?;
        let output = Command::new(&self.program)
            .args(["--dynamic-space-size", HEAP, "--root-dir"])
            .arg(self.directory.join(format!("pgloader-{n}")))
            .arg(&path)
            .env("PGPASSWORD", self.server.password.as_deref().unwrap_or_default())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let is_complaint =
            |line: &&str| ["ERROR", "FATAL", "xhausted"].iter().any(|word| line.contains(word));
        match said.lines().find(is_complaint) {
            Some(complaint) => Err(complaint.into()),
            None if output.status.success() => Ok(()),
            None => Err(format!("{}: {}", output.status, said.lines().last().unwrap_or_default()).into()),
        }
    }
}
