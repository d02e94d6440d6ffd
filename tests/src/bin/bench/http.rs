//! `cargo xtask bench --http`: the idempotent HTTP functions under load, in this process, on a real PostgreSQL.
//!
//! Each client is an environment of the function: one request at a time, one connection. Nothing of the gateway and of
//! Lambda is in the times. The report goes to standard error: standard output is the functions' for their metrics. Exits non-zero only when an answer is wrong, never because of a time.

use crate::Outcome;
use crate::wire::Wire;
use onceload_tests::Bench;
use onceload_tests::http::{Said, request, said, with_key};
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::Database;
use shared::edge::App;
use std::time::{Duration, Instant};
use uuid::Uuid;

const CLIENTS: usize = 32;
/// Requests of each client and kind.
const EACH: usize = 60;
/// Creates of one name, one after the other.
const SLUGS: usize = 200;
const TAKEN: usize = 10_000;

/// The times of one kind of request.
#[derive(Debug, Serialize)]
struct Times {
    what: &'static str,
    requests: usize,
    p50_ms: f64,
    p99_ms: f64,
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    clients: usize,
    times: Vec<Times>,
    /// Creates of a name with 10,000 taken suffixes, and with 1: the ratio of their medians.
    slug_ratio: f64,
    /// Round trips of one create to the database, without and with an Idempotency-Key, and of a replay.
    round_trips: [u64; 3],
}

pub async fn run() -> Outcome<()> {
    let bench = Bench::new().await;
    let apps: Vec<App> = (0..CLIENTS).map(|_| App { db: bench.db.pool(1), ..bench.app.clone() }).collect();
    let mut times = Vec::new();
    // The first requests make connections and users.
    load(&apps, "warm-up", 5, false, 201, "warm").await?;
    times.push(load(&apps, "create without a key", EACH, false, 201, "keyless").await?);
    times.push(load(&apps, "create with a key", EACH, true, 201, "keyed").await?);
    times.push(load(&apps, "replay", EACH, true, 201, "keyed").await?);
    let (few, many) = slugs(&bench).await?;
    let slug_ratio = many.p50_ms / few.p50_ms;
    times.extend([few, many]);
    let report = Report { clients: CLIENTS, times, slug_ratio, round_trips: round_trips(&bench).await? };
    print(&report);
    let path = xtask::project::target().join("bench-http.json");
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    eprintln!("\nWritten to {}", path.display());
    Ok(())
}

/// Every client asks one request after the other, all of them at once. The same `run` again is the same requests.
async fn load(
    apps: &[App],
    what: &'static str,
    each: usize,
    keyed: bool,
    status: u16,
    run: &str,
) -> Outcome<Times> {
    let begun = Instant::now();
    let clients: Vec<_> = apps
        .iter()
        .enumerate()
        .map(|(client, app)| {
            let (app, run) = (app.clone(), run.to_owned());
            tokio::spawn(async move {
                let mut taken = Vec::with_capacity(each);
                for n in 0..each {
                    let name = format!("{run} {client} {n}");
                    let key = keyed.then(|| format!("{run}-{client}-{n}"));
                    let begun = Instant::now();
                    let said = create(&app, &format!("client-{client}"), &name, key.as_deref()).await;
                    taken.push(begun.elapsed());
                    if said.status != status {
                        return Err(format!("{what}: {said:?}"));
                    }
                }
                Ok(taken)
            })
        })
        .collect();
    let mut taken = Vec::new();
    for client in clients {
        taken.extend(client.await??);
    }
    Ok(times(what, taken, begun.elapsed()))
}

async fn create(app: &App, subject: &str, name: &str, key: Option<&str>) -> Said {
    let body = json!({ "name": name }).to_string();
    let mut asked = request("POST", "/communities", Some(subject), &body);
    if let Some(key) = key {
        asked = with_key(asked, key);
    }
    said(create_community::handle(app.clone(), asked).await)
}

/// One client, one name after the other: names with one taken suffix each, and one name with very many.
async fn slugs(bench: &Bench) -> Outcome<(Times, Times)> {
    let app = App { db: bench.db.pool(1), ..bench.app.clone() };
    let first = create(&app, "slugs", "Popular", None).await;
    let owner = bench.db.value("SELECT id FROM users WHERE subject = 'slugs'").await;
    // (base, suffix) of what is taken.
    for taken in [
        format!("SELECT 'popular', n FROM generate_series(1, {TAKEN}) n"),
        format!("SELECT 'rare' || n, 0 FROM generate_series(1, {SLUGS}) n"),
    ] {
        let sql = format!(
            "INSERT INTO communities (id, owner_id, slug_base, slug_suffix, unique_url, name)
             SELECT gen_random_uuid(), '{owner}', b, s, b || CASE WHEN s = 0 THEN '' ELSE '-' || s END, b
               FROM ({taken}) AS taken (b, s)"
        );
        bench.db.exec(&sql).await;
    }
    bench.db.exec("ANALYZE communities").await;
    assert_eq!(first.status, 201, "{first:?}");
    let mut taken = [Vec::new(), Vec::new()];
    // In turn, so that both meet the same machine.
    for n in 1..=SLUGS {
        for (at, name, url) in [
            (0, format!("Rare{n}"), format!("rare{n}-1")),
            (1, "Popular".to_owned(), format!("popular-{}", TAKEN + n)),
        ] {
            let begun = Instant::now();
            let made = create(&app, "slugs", &name, None).await;
            taken[at].push(begun.elapsed());
            if (made.status, &made.body["unique_url"]) != (201, &Value::from(url.as_str())) {
                return Err(format!("{url}: {made:?}").into());
            }
        }
    }
    let [few, many] = taken;
    let all = |taken: &Vec<Duration>| taken.iter().sum();
    let (few_all, many_all) = (all(&few), all(&many));
    Ok((
        times("slug, 1 taken, one client", few, few_all),
        times("slug, 10,000 taken, one client", many, many_all),
    ))
}

/// Counted on the wire, on a connection that is warm. In one thread: what is sent without waiting for an answer then
/// goes out in one piece, and is counted as one.
async fn round_trips(bench: &Bench) -> Outcome<[u64; 3]> {
    let (url, app) = (bench.db.direct_url(), bench.app.clone());
    let counting = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(counted(&url, app))
    });
    counting.await?
}

async fn counted(url: &str, app: App) -> Outcome<[u64; 3]> {
    let wire = Wire::before(url).await?;
    let app = App { db: Database::new(&wire.url, 1, None)?, ..app };
    create(&app, "wire", "warm", None).await;
    let key = Uuid::now_v7().to_string();
    let mut counted = [0; 3];
    for (at, key) in [None, Some(key.as_str()), Some(key.as_str())].into_iter().enumerate() {
        let before = wire.round_trips();
        let said = create(&app, "wire", "On the Wire", key).await;
        if said.status != 201 || (at == 2) != said.header("idempotent-replayed").is_some() {
            return Err(format!("{said:?}").into());
        }
        counted[at] = wire.round_trips() - before;
    }
    Ok(counted)
}

#[allow(clippy::cast_precision_loss)]
fn times(what: &'static str, mut taken: Vec<Duration>, whole: Duration) -> Times {
    taken.sort_unstable();
    let at = |share: usize| taken[(taken.len() * share / 100).min(taken.len() - 1)].as_secs_f64() * 1000.0;
    let (p50_ms, p99_ms) = (at(50), at(99));
    let per_second = taken.len() as f64 / whole.as_secs_f64();
    Times { what, requests: taken.len(), p50_ms, p99_ms, per_second }
}

fn print(report: &Report) {
    eprintln!("\n{} clients", report.clients);
    eprintln!("{:<32} {:>9} {:>9} {:>9} {:>9}", "request", "requests", "p50 ms", "p99 ms", "per s");
    for times in &report.times {
        eprintln!(
            "{:<32} {:>9} {:>9.2} {:>9.2} {:>9.0}",
            times.what, times.requests, times.p50_ms, times.p99_ms, times.per_second
        );
    }
    let [keyless, keyed, replay] = report.round_trips;
    eprintln!("slug with 10,000 taken against 1: {:.2} times as long", report.slug_ratio);
    eprintln!("round trips: create {keyless}, create with a key {keyed}, replay {replay}");
}
