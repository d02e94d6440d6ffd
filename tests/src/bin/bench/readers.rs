//! A second client at work: point reads and single claims on the table of codes, and an operator's page that asks for the
//! import's state; and the strongest lock that a client holds on that table meanwhile.

use crate::Outcome;
use crate::database::Bench;
use crate::operator::SUBJECT;
use crate::report::median;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use onceload_tests::http::{receive, request};
use serde::Serialize;
use shared::domain::ids::JobId;
use shared::lambda::App;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// Times of one kind of request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub requests: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Observed {
    pub read: Latency,
    pub claim: Latency,
    /// `GET /imports/{id}`
    pub get: Latency,
    pub strongest_lock: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compared {
    pub idle: Observed,
    pub during: Observed,
}

/// The clients at work.
#[derive(Debug)]
pub(crate) struct Readers {
    done: Arc<AtomicBool>,
    /// Reads, claims, GETs.
    clients: [JoinHandle<Outcome<Vec<Duration>>>; 3],
    locks: JoinHandle<Outcome<Option<String>>>,
}

const READS_PER_SECOND: u32 = 40;
const CLAIMS_PER_SECOND: u32 = 20;
const GETS_PER_SECOND: u32 = 10;
const LOOKS_PER_SECOND: u32 = 5;

const READ: &str = "SELECT [points], [claimed] FROM [table] WHERE [merchant_id] = $1 AND [code] = $2";
const CLAIM: &str = "UPDATE [table] SET [claimed] = true, [claimed_customer_id] = 'bench' WHERE [merchant_id] = $1 AND [code] = $2";

impl Readers {
    pub(crate) async fn start(bench: &Bench, merchant: Uuid, job: JobId) -> Outcome<Self> {
        // Some codes that were there before, from all over the index.
        let production = &bench.production;
        let rows = bench.count(&production.sql("SELECT greatest(count(*), 1) FROM [table]")).await?;
        let sample = production.sql(&format!(
            "SELECT [code]::text FROM [table] TABLESAMPLE BERNOULLI (least(100, 100.0 * 2000 / {rows})) \
             WHERE [import_job_id] IS NULL LIMIT 2000"
        ));
        let codes: Vec<String> =
            bench.client.query_typed(&sample, &[]).await?.iter().map(|row| row.get(0)).collect();
        let codes = Arc::new(codes);
        let done = Arc::new(AtomicBool::new(false));
        let reader = bench.server.administer(Bench::DATABASE).await?;
        let claimer = bench.server.administer(Bench::DATABASE).await?;
        let watcher = bench.server.administer(Bench::DATABASE).await?;
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .build();
        let app = App::new(aws, &bench.url, shared::db::Usage::step(1))?;
        let read = tokio::spawn(reads(
            Arc::clone(&done),
            reader,
            production.sql(READ),
            merchant,
            Arc::clone(&codes),
        ));
        let claim = tokio::spawn(claims(Arc::clone(&done), claimer, production.sql(CLAIM), merchant, codes));
        let get = tokio::spawn(gets(Arc::clone(&done), app, job));
        let locks = tokio::spawn(locks(Arc::clone(&done), watcher));
        Ok(Self { done, clients: [read, claim, get], locks })
    }

    pub(crate) async fn finish(self) -> Outcome<Observed> {
        self.done.store(true, Ordering::SeqCst);
        let [read, claim, get] = self.clients;
        Ok(Observed {
            read: latency(read.await??),
            claim: latency(claim.await??),
            get: latency(get.await??),
            strongest_lock: self.locks.await??,
        })
    }
}

fn ticks(per_second: u32) -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The n-th code of the sample, in an order that jumps about.
fn pick(codes: &[String], n: usize) -> Option<&String> {
    codes.get(n.wrapping_mul(7919) % codes.len().max(1))
}

async fn reads(
    done: Arc<AtomicBool>,
    client: Client,
    sql: String,
    merchant: Uuid,
    codes: Arc<Vec<String>>,
) -> Outcome<Vec<Duration>> {
    let (mut taken, mut ticks) = (Vec::new(), ticks(READS_PER_SECOND));
    while !done.load(Ordering::SeqCst) {
        ticks.tick().await;
        let code = pick(&codes, taken.len()).ok_or("no code to read")?;
        let begun = Instant::now();
        let rows = client.query_typed(&sql, &[(&merchant, Type::UUID), (code, Type::TEXT)]).await?;
        taken.push(begun.elapsed());
        if rows.len() != 1 {
            return Err(format!("a reader found {} codes, 1 expected", rows.len()).into());
        }
    }
    Ok(taken)
}

async fn claims(
    done: Arc<AtomicBool>,
    client: Client,
    sql: String,
    merchant: Uuid,
    codes: Arc<Vec<String>>,
) -> Outcome<Vec<Duration>> {
    let (mut taken, mut ticks) = (Vec::new(), ticks(CLAIMS_PER_SECOND));
    while !done.load(Ordering::SeqCst) {
        ticks.tick().await;
        let code = pick(&codes, taken.len() + 1).ok_or("no code to claim")?;
        let begun = Instant::now();
        let rows = client.execute_typed(&sql, &[(&merchant, Type::UUID), (code, Type::TEXT)]).await?;
        taken.push(begun.elapsed());
        if rows != 1 {
            return Err(format!("a claim changed {rows} codes, 1 expected").into());
        }
    }
    Ok(taken)
}

async fn gets(done: Arc<AtomicBool>, app: App, job: JobId) -> Outcome<Vec<Duration>> {
    let (mut taken, mut ticks) = (Vec::new(), ticks(GETS_PER_SECOND));
    let path = format!("/imports/{job}");
    while !done.load(Ordering::SeqCst) {
        ticks.tick().await;
        let asked = request("GET", &path, Some(SUBJECT), "");
        let begun = Instant::now();
        let answer = receive(import_jobs::handle(app.clone(), asked).await);
        taken.push(begun.elapsed());
        if answer.status != 200 {
            return Err(format!("GET {path}: {answer:?}").into());
        }
    }
    Ok(taken)
}

/// Weakest first (PostgreSQL documentation, "Table-Level Locks").
const MODES: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

/// The strongest lock that any client, autovacuum aside, was seen to hold on the table of codes.
async fn locks(done: Arc<AtomicBool>, client: Client) -> Outcome<Option<String>> {
    let (mut strongest, mut ticks) = (None, ticks(LOOKS_PER_SECOND));
    while !done.load(Ordering::SeqCst) {
        ticks.tick().await;
        // Locks on the table itself; `extend` and `tuple` name it too, and last for an instant.
        let sql = "SELECT DISTINCT l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                    WHERE l.locktype = 'relation' AND l.relation = onceload.codes_table() AND l.granted AND a.backend_type = 'client backend'";
        for row in client.query_typed(sql, &[]).await? {
            let mode: String = row.get(0);
            strongest = strongest.max(MODES.iter().position(|it| *it == mode));
        }
    }
    Ok(strongest.map(|at| MODES[at].to_owned()))
}

fn latency(mut taken: Vec<Duration>) -> Latency {
    taken.sort_unstable();
    let at = |share: usize| {
        let place = (taken.len() * share / 100).min(taken.len().saturating_sub(1));
        taken.get(place).map_or(0.0, |it| it.as_secs_f64() * 1000.0)
    };
    Latency { requests: taken.len(), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
}

impl Compared {
    /// Over all runs: the median of each figure, but all requests, the longest time and the strongest lock.
    pub(crate) fn over(runs: &[&Self]) -> Option<Self> {
        let side = |of: fn(&Self) -> &Observed| {
            let sides: Vec<&Observed> = runs.iter().map(|run| of(run)).collect();
            let kind = |of: fn(&Observed) -> &Latency| {
                let all: Vec<&Latency> = sides.iter().map(|side| of(side)).collect();
                Latency {
                    requests: all.iter().map(|it| it.requests).sum(),
                    p50_ms: median(all.iter().map(|it| it.p50_ms).collect()),
                    p99_ms: median(all.iter().map(|it| it.p99_ms).collect()),
                    max_ms: all.iter().map(|it| it.max_ms).fold(0.0, f64::max),
                }
            };
            let locks = sides.iter().filter_map(|side| side.strongest_lock.as_deref());
            Observed {
                read: kind(|it| &it.read),
                claim: kind(|it| &it.claim),
                get: kind(|it| &it.get),
                strongest_lock: locks
                    .max_by_key(|lock| MODES.iter().position(|it| it == lock))
                    .map(str::to_owned),
            }
        };
        (!runs.is_empty()).then(|| Self { idle: side(|it| &it.idle), during: side(|it| &it.during) })
    }

    pub(crate) fn print(&self) {
        println!(
            "\n{:<20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "beside the insert",
            "idle: n",
            "p50 ms",
            "p99 ms",
            "max ms",
            "during: n",
            "p50 ms",
            "p99 ms",
            "max ms"
        );
        for (what, idle, during) in [
            ("point read", &self.idle.read, &self.during.read),
            ("single claim", &self.idle.claim, &self.during.claim),
            ("GET /imports/{id}", &self.idle.get, &self.during.get),
        ] {
            print!("{what:<20}");
            for side in [idle, during] {
                print!(
                    " {:>9} {:>9.2} {:>9.2} {:>9.2}",
                    side.requests, side.p50_ms, side.p99_ms, side.max_ms
                );
            }
            println!();
        }
        let lock = self.during.strongest_lock.as_deref().unwrap_or("none seen");
        println!("strongest lock of a client on codes during the insert: {lock}");
    }
}
