//! `cargo xtask bench --http`: the idempotent HTTP functions under load, in this process, on a real PostgreSQL.
//!
//! Each client is an environment of the function: one request at a time, one connection. Nothing of the gateway and of
//! Lambda is in the times. The report goes to standard error: standard output is the functions' for their metrics. Exits
//! non-zero only when an answer is wrong, never because of a time.

use crate::Outcome;
use crate::wire::Wire;
use onceload_tests::World;
use onceload_tests::http::{Response, receive, request, with_key};
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::{Database, Usage};
use shared::lambda::App;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use uuid::Uuid;

const CLIENTS: usize = 32;
/// Between the requests of a client that is a person's browser.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests of each client and kind.
const EACH: usize = 60;
/// Creates of one name, one after the other.
const SLUGS: usize = 200;
const TAKEN: usize = 10_000;

/// The times of one kind of request.
#[derive(Debug, Serialize)]
struct Times {
    what: &'static str,
    clients: usize,
    /// Between the requests of each client.
    pause_ms: u128,
    requests: usize,
    p50_ms: f64,
    p99_ms: f64,
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    times: Vec<Times>,
    /// Creates of a name with 10,000 taken suffixes, and with 1: the ratio of their medians.
    slug_ratio: f64,
    /// Round trips of one create to the database, without and with an Idempotency-Key, and of a replay.
    round_trips: [u64; 3],
}

pub(crate) async fn run() -> Outcome<()> {
    let world = World::new().await;
    let apps: Vec<App> = (0..CLIENTS).map(|_| world.app_with_pool(1)).collect();
    let mut times = Vec::new();
    // The first requests make connections and users.
    load(&apps, "warm-up", Duration::ZERO, 5, false, "warm").await?;
    for (pause, run) in [(Duration::ZERO, "busy"), (PAUSE, "browsing")] {
        times.push(load(&apps, "create without a key", pause, EACH, false, run).await?);
        times.push(load(&apps, "create with a key", pause, EACH, true, run).await?);
        times.push(load(&apps, "replay", pause, EACH, true, run).await?);
    }
    let (few, many) = slugs(&world).await?;
    let slug_ratio = many.p50_ms / few.p50_ms;
    times.extend([few, many]);
    let report = Report { times, slug_ratio, round_trips: round_trips(&world).await? };
    print(&report);
    let path = xtask::project::target().join("bench-http.json");
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    eprintln!("\nWritten to {}", path.display());
    Ok(())
}

/// Every client asks one request after the other, all of them at once. The same keyed `run` again is the same requests.
async fn load(
    apps: &[App],
    what: &'static str,
    pause: Duration,
    each: usize,
    keyed: bool,
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
                // Not all of them in step.
                sleep(pause * u32::try_from(client)? / u32::try_from(CLIENTS)?).await;
                for n in 0..each {
                    sleep(pause).await;
                    let name = format!("{run} {client} {n}");
                    let key = keyed.then(|| format!("{run}-{client}-{n}"));
                    let begun = Instant::now();
                    let response = create(&app, &format!("client-{client}"), &name, key.as_deref()).await;
                    taken.push(begun.elapsed());
                    if response.status != 201 {
                        return Err(format!("{what}: {response:?}").into());
                    }
                }
                Outcome::Ok(taken)
            })
        })
        .collect();
    let mut taken = Vec::new();
    for client in clients {
        taken.extend(client.await??);
    }
    Ok(times(what, apps.len(), pause, taken, begun.elapsed()))
}

async fn create(app: &App, subject: &str, name: &str, key: Option<&str>) -> Response {
    let body = json!({ "name": name }).to_string();
    let mut asked = request("POST", "/communities", Some(subject), &body);
    if let Some(key) = key {
        asked = with_key(asked, key);
    }
    receive(create_community::handle(app.clone(), asked).await)
}

/// One client, one name after the other: names with one taken suffix each, and one name with very many.
async fn slugs(world: &World) -> Outcome<(Times, Times)> {
    let app = world.app_with_pool(1);
    let first = create(&app, "slugs", "Popular", None).await;
    let owner = world.db.value("SELECT id FROM onceload.users WHERE subject = 'slugs'").await;
    // (base, suffix) of what is taken.
    for taken in [
        format!("SELECT 'popular', n FROM generate_series(1, {TAKEN}) n"),
        format!("SELECT 'rare' || n, 0 FROM generate_series(1, {SLUGS}) n"),
    ] {
        let sql = format!(
            "INSERT INTO onceload.communities (id, owner_id, slug_base, slug_suffix, unique_url, name)
             SELECT gen_random_uuid(), '{owner}', b, s, b || CASE WHEN s = 0 THEN '' ELSE '-' || s END, b
               FROM ({taken}) AS taken (b, s)"
        );
        world.db.exec(&sql).await;
    }
    world.db.exec("ANALYZE onceload.communities").await;
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
        times("create, 1 suffix taken", 1, Duration::ZERO, few, few_all),
        times("create, 10,000 suffixes taken", 1, Duration::ZERO, many, many_all),
    ))
}

/// Counted on the wire, on a connection that is warm. In one thread: what is sent without waiting for an answer then
/// goes out in one piece, and is counted as one.
async fn round_trips(world: &World) -> Outcome<[u64; 3]> {
    let (url, app) = (world.db.direct_url(), world.app.clone());
    let counting = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(counted(&url, app))
    });
    counting.await?
}

async fn counted(url: &str, app: App) -> Outcome<[u64; 3]> {
    let wire = Wire::before(url).await?;
    let app = App { db: Database::new(&wire.url, Usage::step(1), None)?, ..app };
    create(&app, "wire", "warm", None).await;
    let key = Uuid::now_v7().to_string();
    let mut counted = [0; 3];
    for (at, key) in [None, Some(key.as_str()), Some(key.as_str())].into_iter().enumerate() {
        let before = wire.round_trips();
        let response = create(&app, "wire", "On the Wire", key).await;
        if response.status != 201 || (at == 2) != response.header("idempotent-replayed").is_some() {
            return Err(format!("{response:?}").into());
        }
        counted[at] = wire.round_trips() - before;
    }
    Ok(counted)
}

fn times(
    what: &'static str,
    clients: usize,
    pause: Duration,
    mut taken: Vec<Duration>,
    whole: Duration,
) -> Times {
    taken.sort_unstable();
    let at = |share: usize| taken[(taken.len() * share / 100).min(taken.len() - 1)].as_secs_f64() * 1000.0;
    let (p50_ms, p99_ms) = (at(50), at(99));
    let per_second = taken.len() as f64 / whole.as_secs_f64();
    Times { what, clients, pause_ms: pause.as_millis(), requests: taken.len(), p50_ms, p99_ms, per_second }
}

fn print(report: &Report) {
    eprintln!("\nAs many clients at once, each with so long a pause between its requests");
    eprintln!(
        "{:<30} {:>7} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "request", "clients", "pause ms", "requests", "p50 ms", "p99 ms", "per s"
    );
    for times in &report.times {
        eprintln!(
            "{:<30} {:>7} {:>8} {:>8} {:>8.2} {:>8.2} {:>7.0}",
            times.what,
            times.clients,
            times.pause_ms,
            times.requests,
            times.p50_ms,
            times.p99_ms,
            times.per_second
        );
    }
    let [keyless, keyed, replay] = report.round_trips;
    eprintln!("slug with 10,000 taken against 1: {:.2} times as long", report.slug_ratio);
    eprintln!("round trips: create {keyless}, create with a key {keyed}, replay {replay}");
}
