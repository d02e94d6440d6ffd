//! An application goes on reading, inserting and claiming on its own table through import, conflict, cancel, kill and rollback, and its
//! invariants hold throughout.

use crate::process::Process;
use onceload_tests::application::{TABLES, request};
use onceload_tests::files::numbered;
use onceload_tests::{Maintenance, State, TestDb, World};
use serde_json::json;
use shared::db::{Database, Usage};
use shared::domain::ids::MerchantId;
use shared::domain::task::ClaimedCodes;
use shared::lambda::Budget;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// Codes of one import.
const ROWS: u32 = 60_000;

/// Claims a free code as applications do: locked, marked and referenced in one transaction.
const CLAIM: &str = "WITH free AS (
        SELECT id FROM public.promo_codes WHERE NOT is_claimed LIMIT 1 FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE public.promo_codes p SET is_claimed = true, customer = 'ada' FROM free WHERE p.id = free.id RETURNING p.id
    )
    INSERT INTO public.claims (promo_code_id, customer) SELECT id, 'ada' FROM taken";

/// A code is claimed exactly if one claim references it, no code is there twice, and of an import all codes are there, but for those that
/// the application inserted before, or none but what a rollback kept.
const BROKEN: &str = "SELECT
    (SELECT count(*) FROM public.promo_codes p FULL JOIN public.claims c ON c.promo_code_id = p.id
      WHERE (p.is_claimed IS TRUE) <> (c.id IS NOT NULL))
    + (SELECT count(*) - count(DISTINCT promo_code) FROM public.promo_codes)
    + (SELECT count(*) FROM (SELECT count(*) AS rows, count(*) FILTER (WHERE NOT is_claimed) AS free FROM public.promo_codes
                              WHERE import_job_id IS NOT NULL GROUP BY import_job_id) AS imports
        WHERE rows < 50000 AND free > 0)";

/// The application at work, on connections of its own.
struct Application {
    stop: Arc<AtomicBool>,
    claims: Arc<AtomicI64>,
    inserts: Arc<AtomicI64>,
    looks: Arc<AtomicI64>,
    at_work: JoinSet<()>,
}

impl Application {
    async fn start(world: &World) -> Self {
        let mut application = Self {
            stop: Arc::default(),
            claims: Arc::default(),
            inserts: Arc::default(),
            looks: Arc::default(),
            at_work: JoinSet::new(),
        };
        for _ in 0..2 {
            let (client, stop, claims) =
                (world.db.connect().await, application.stop.clone(), application.claims.clone());
            application.at_work.spawn(async move { claim(&client, &stop, &claims).await });
        }
        let (client, stop, inserts) =
            (world.db.connect().await, application.stop.clone(), application.inserts.clone());
        let merchant = world.merchant;
        application.at_work.spawn(async move { insert(&client, merchant, &stop, &inserts).await });
        let (client, stop, looks) =
            (world.db.connect().await, application.stop.clone(), application.looks.clone());
        application.at_work.spawn(async move { look(&client, &stop, &looks).await });
        application
    }

    /// Waits until each of them has done some more.
    async fn go_on(&self, world: &World) {
        let now =
            || [&self.claims, &self.inserts, &self.looks].map(|counter| counter.load(Ordering::Relaxed));
        let before = now();
        let moved = async || now().iter().zip(before).all(|(now, before)| *now > before + 1).then_some(());
        onceload_tests::wait::until("the application to go on", Duration::from_millis(10), moved).await;
        assert_eq!(world.db.int(BROKEN).await, 0);
    }

    async fn finish(mut self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.at_work.join_next().await {
            done.unwrap();
        }
        self.claims.load(Ordering::Relaxed)
    }
}

async fn claim(client: &Client, stop: &AtomicBool, claims: &AtomicI64) {
    while !stop.load(Ordering::Relaxed) {
        client.batch_execute(CLAIM).await.expect("a claim");
        claims.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Inserts codes of its own, and once in a while one that is being imported. It waits for an import for a moment at most.
async fn insert(client: &Client, merchant: MerchantId, stop: &AtomicBool, inserts: &AtomicI64) {
    client.batch_execute("SET lock_timeout = '200ms'").await.expect("a setting");
    while !stop.load(Ordering::Relaxed) {
        let n = inserts.fetch_add(1, Ordering::Relaxed);
        let code = if n % 20 == 7 { format!("A{:06}", n % i64::from(ROWS)) } else { format!("OWN-{n}") };
        let sql = format!(
            "INSERT INTO public.promo_codes (owner_id, promo_code) VALUES ('{merchant}', '{code}') ON CONFLICT DO NOTHING"
        );
        if let Err(error) = client.batch_execute(&sql).await {
            assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{error:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn look(client: &Client, stop: &AtomicBool, looks: &AtomicI64) {
    while !stop.load(Ordering::Relaxed) {
        let broken = onceload_tests::db::value(client, BROKEN).await;
        assert_eq!(broken, "0", "the application's invariants");
        looks.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_goes_on_through_import_conflict_cancel_kill_and_rollback() {
    let db = TestDb::with_baseline().await;
    db.exec(TABLES).await;
    let direct = Database::new(&db.direct_url(), Usage::step(2), None).unwrap();
    assert!(
        migrate::adopt(&direct, &request(true), Budget::of(Duration::from_secs(60))).await.unwrap().applied
    );
    let world = World::with_database(db).await;
    let own = format!(
        "INSERT INTO public.promo_codes (owner_id, promo_code) SELECT '{}', 'OLD-' || n FROM generate_series(1, 2000) n",
        world.merchant
    );
    world.db.exec(&own).await;
    let application = Application::start(&world).await;

    // Cancelled while it waits.
    let run = world.import_until_approval("a.csv", numbered("A", 0..ROWS)).await;
    run.cancel(&world.actor).await;
    assert_eq!(world.read_status(run.job).await, "cancelled");
    assert_eq!(world.count_codes_of(run.job).await, 0);
    application.go_on(&world).await;

    // Killed in its insert, then repeated beside codes that the application inserts.
    let mut run = world.import_until_approval("b.csv", numbered("A", 0..ROWS)).await;
    run.approve(&world.actor).await;
    let input = json!({ "job_id": run.job, "attempt": run.attempt });
    let mut process = Process::start(&world, "insert-codes", &input);
    world.db.wait_for_running("staging.insert").await;
    process.kill();
    world.db.wait_for_end("insert").await;
    assert_eq!(world.count_codes_of(run.job).await, 0, "all or nothing");
    application.go_on(&world).await;
    run.finish(&world.actor).await.expect(State::Done);
    let job = world.read_job(run.job).await;
    assert_eq!(
        (&job["status"], &job["verification"]["verified"]),
        (&json!("completed"), &json!(true)),
        "{job}"
    );
    let inserted = world.count_codes_of(run.job).await;
    application.go_on(&world).await;

    // Rolled back while its codes are claimed.
    world.start_task(run.job, Maintenance::Rollback(ClaimedCodes::Keep)).await.run().await.unwrap();
    application.go_on(&world).await;
    let claims = application.finish().await;
    assert_eq!(world.db.int(BROKEN).await, 0);
    let job = world.read_job(run.job).await;
    assert_eq!(job["status"], "rolled_back");
    let kept = world.count_codes_of(run.job).await;
    assert_eq!(job["codes_kept"], json!(kept));
    assert!(kept < inserted && claims > 0, "{kept} of {inserted} kept, {claims} claims");
    assert_eq!(
        world
            .db
            .int("SELECT count(*) FROM public.promo_codes WHERE import_job_id IS NOT NULL AND NOT is_claimed")
            .await,
        0,
        "only claimed ones stay"
    );
}
