//! Rows of other tables reference codes by foreign keys. A rollback keeps those codes, whatever ON DELETE says, and loses no row.

use onceload_tests::files::numbered;
use onceload_tests::reports::read_gzip;
use onceload_tests::{Maintenance, World};
use serde_json::json;
use shared::domain::ids::JobId;
use shared::domain::step::StepErrorKind;
use shared::domain::task::ClaimedCodes;
use tokio_postgres::error::SqlState;

const KEEP: Maintenance = Maintenance::Rollback(ClaimedCodes::Keep);
const DELETE: Maintenance = Maintenance::Rollback(ClaimedCodes::Delete);

/// A table that references codes by their key; `more` stands behind REFERENCES.
async fn add_orders(world: &World, name: &str, more: &str) {
    world
        .db
        .exec(&format!(
            "CREATE TABLE onceload.{name} (id bigint GENERATED ALWAYS AS IDENTITY, merchant_id uuid, code text COLLATE \"C\",
                 CONSTRAINT {name}_code FOREIGN KEY (merchant_id, code) REFERENCES onceload.codes {more})"
        ))
        .await;
}

fn order(world: &World, table: &str, code: &str) -> String {
    format!("INSERT INTO onceload.{table} (merchant_id, code) VALUES ('{}', '{code}')", world.merchant)
}

async fn claim(world: &World, code: &str) {
    world.db.exec(&format!("UPDATE onceload.codes SET claimed = true WHERE code = '{code}'")).await;
}

/// The code and the reason of each line in the list of what was kept.
fn list_kept(world: &World, job: JobId) -> Vec<(String, String)> {
    let key = format!("reports/{}/{job}/claimed.csv.gz", world.merchant);
    let text = String::from_utf8(read_gzip(world, &key)).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().ends_with(",claimed_customer_id,kept_because"), "{text}");
    let ends = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[0].to_owned(), fields[fields.len() - 1].to_owned())
    };
    lines.map(ends).collect()
}

fn kept<const N: usize>(lines: [(&str, &str); N]) -> Vec<(String, String)> {
    lines.map(|(code, reason)| (code.to_owned(), reason.to_owned())).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_keeps_referenced_codes_whatever_on_delete_says() {
    let actions = [
        "NO ACTION",
        "RESTRICT",
        "CASCADE",
        "SET NULL",
        "SET DEFAULT",
        "NO ACTION DEFERRABLE INITIALLY DEFERRED",
    ];
    for action in actions {
        let world = World::with_baseline().await;
        add_orders(&world, "orders", &format!("ON DELETE {action}")).await;
        let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
        for code in ["A000003", "A000003", "A000007"] {
            world.db.exec(&order(&world, "orders", code)).await;
        }
        claim(&world, "A000007").await;
        claim(&world, "A000009").await;
        let result = world.run_task(run.job, KEEP).await;
        assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(47), &json!(3)), "{action}");
        assert_eq!(
            list_kept(&world, run.job),
            kept([("A000003", "orders_code"), ("A000007", "claimed; orders_code"), ("A000009", "claimed")]),
            "{action}"
        );
        let orders = world.db.column("SELECT code FROM onceload.orders ORDER BY id").await;
        assert_eq!(orders, ["A000003", "A000003", "A000007"], "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_codes_that_are_referenced_are_never_deleted() {
    let world = World::with_baseline().await;
    add_orders(&world, "orders", "ON DELETE CASCADE").await;
    add_orders(&world, "refunds", "ON DELETE SET NULL").await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    for code in ["A000001", "A000002", "A000003"] {
        claim(&world, code).await;
    }
    world.db.exec(&order(&world, "orders", "A000001")).await;
    world.db.exec(&order(&world, "refunds", "A000001")).await;
    world.db.exec(&order(&world, "refunds", "A000004")).await;
    let result = world.run_task(run.job, DELETE).await;
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(48), &json!(2)));
    assert_eq!(
        list_kept(&world, run.job),
        kept([("A000001", "claimed; orders_code; refunds_code"), ("A000004", "refunds_code")])
    );
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.refunds WHERE code IS NOT NULL").await, 2);
}

/// The application's table has another key and other names, and the view `onceload.codes` doesn't show the referenced column. Names
/// need quotes, and the referencing table is partitioned.
async fn adopt(world: &World) {
    world
        .db
        .exec(
            "CREATE SCHEMA \"App\";
             CREATE TABLE \"App\".\"promo codes\" (LIKE onceload.codes INCLUDING ALL);
             CREATE OR REPLACE FUNCTION onceload.codes_table() RETURNS regclass LANGUAGE sql STABLE PARALLEL SAFE
                 RETURN '\"App\".\"promo codes\"'::regclass;
             DROP TABLE onceload.codes;
             ALTER TABLE \"App\".\"promo codes\" ADD \"Id\" bigint GENERATED ALWAYS AS IDENTITY UNIQUE;
             ALTER TABLE \"App\".\"promo codes\" RENAME claimed TO redeemed;
             CREATE TABLE \"App\".blacklist (code text);
             CREATE VIEW onceload.codes AS
                 SELECT ctid, merchant_id, import_job_id, created_at, window_start, window_end, points, activated, deactivated,
                        redeemed OR EXISTS (SELECT FROM \"App\".blacklist l WHERE l.code = c.code) AS claimed, code,
                        serial, sku, sku_name, batch_code, price, claimed_customer_id, source
                   FROM \"App\".\"promo codes\" c;
             CREATE TABLE \"App\".\"Orders\" (\"promo id\" bigint CONSTRAINT \"o'rder\" REFERENCES \"App\".\"promo codes\" (\"Id\")
                 ON DELETE CASCADE, month integer NOT NULL) PARTITION BY LIST (month);
             CREATE TABLE \"App\".orders_1 PARTITION OF \"App\".\"Orders\" FOR VALUES IN (1)",
        )
        .await;
}

async fn count_orders(world: &World) -> i64 {
    world.db.int("SELECT count(*) FROM \"App\".\"Orders\"").await
}

fn order_by_id(code: &str) -> String {
    format!(
        "INSERT INTO \"App\".\"Orders\" SELECT \"Id\", 1 FROM \"App\".\"promo codes\" WHERE code = '{code}'"
    )
}

/// Puts codes of a job into production by hand.
async fn add_codes_of(world: &World, job: JobId, prefix: &str, codes: i64) {
    world
        .db
        .exec(&format!(
            "INSERT INTO onceload.codes (merchant_id, import_job_id, code)
             SELECT '{}', '{job}', '{prefix}' || lpad(i::text, 6, '0') FROM generate_series(0, {codes} - 1) AS i",
            world.merchant
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_to_the_applications_own_table_are_found_below_the_view() {
    let world = World::with_baseline().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    adopt(&world).await;
    add_codes_of(&world, run.job, "A", 50).await;
    world.db.exec(&order_by_id("A000005")).await;
    world.db.exec("INSERT INTO \"App\".blacklist VALUES ('A000006'), ('A000005')").await;
    let result = world.run_task(run.job, KEEP).await;
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(48), &json!(2)));
    assert_eq!(list_kept(&world, run.job), kept([("A000005", "claimed; o'rder"), ("A000006", "claimed")]));
    assert_eq!(count_orders(&world).await, 1);
}

/// A key may reference a table of which that of the codes is a partition.
#[tokio::test(flavor = "multi_thread")]
async fn references_to_a_table_of_which_the_codes_are_a_partition_count() {
    let world = World::with_baseline().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    world
        .db
        .exec(
            "CREATE TABLE onceload.all_codes (LIKE onceload.codes INCLUDING DEFAULTS, PRIMARY KEY (merchant_id, code))
                 PARTITION BY HASH (merchant_id);
             ALTER TABLE onceload.all_codes ATTACH PARTITION onceload.codes FOR VALUES WITH (MODULUS 1, REMAINDER 0);
             CREATE TABLE onceload.orders (merchant_id uuid, code text COLLATE \"C\",
                 FOREIGN KEY (merchant_id, code) REFERENCES onceload.all_codes ON DELETE CASCADE)",
        )
        .await;
    world.db.exec(&order(&world, "orders", "A000005")).await;
    let result = world.run_task(run.job, KEEP).await;
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(49), &json!(1)));
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.orders").await, 1);
}

/// The reference is added before the rollback looks and commits while it locks: its statement passes over nothing, and its own
/// snapshot shows no reference.
#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_commits_while_codes_are_locked_keeps_its_code() {
    let world = World::with_baseline().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    adopt(&world).await;
    // The second statement that reads whether A000020 is claimed stops there: the first looks for the parts of the heap.
    world
        .db
        .exec(
            "CREATE SEQUENCE onceload.looks;
             CREATE FUNCTION onceload.pause(code text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
             BEGIN IF code = 'A000020' AND nextval('onceload.looks') = 2 THEN PERFORM pg_advisory_xact_lock_shared(7); END IF; RETURN false; END $$;
             CREATE OR REPLACE VIEW onceload.codes AS
                 SELECT ctid, merchant_id, import_job_id, created_at, window_start, window_end, points, activated, deactivated,
                        redeemed OR onceload.pause(c.code) AS claimed, code,
                        serial, sku, sku_name, batch_code, price, claimed_customer_id, source
                   FROM \"App\".\"promo codes\" c",
        )
        .await;
    add_codes_of(&world, run.job, "A", 50).await;
    let application = world.db.connect().await;
    application.batch_execute("BEGIN").await.unwrap();
    application.batch_execute(&order_by_id("A000030")).await.unwrap();
    let task = world.start_task(run.job, KEEP).await;
    let gate = world.db.connect().await;
    gate.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
    let running = {
        let task = task.with_own_connections(&world);
        tokio::spawn(async move { task.run().await })
    };
    world.db.wait_for_blocked("codes.lock").await;
    application.batch_execute("COMMIT").await.unwrap();
    gate.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    let result = running.await.unwrap().unwrap();
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(49), &json!(1)));
    assert_eq!(count_orders(&world).await, 1);
}

/// A reference that is added to a code after the rollback has locked it waits, and fails when the code is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_comes_after_the_lock_is_refused() {
    let world = World::with_baseline().await;
    add_orders(&world, "orders", "ON DELETE CASCADE").await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    // The deletion stops at its first code, when all are locked.
    let held = world.hold_deletions("true").await;
    let task = world.start_task(run.job, KEEP).await;
    let running = {
        let task = task.with_own_connections(&world);
        tokio::spawn(async move { task.run().await })
    };
    world.db.wait_for_blocked("codes.delete_locked").await;
    let ordering = {
        let (application, sql) = (world.db.connect().await, order(&world, "orders", "A000040"));
        tokio::spawn(async move { application.batch_execute(&format!("-- application\n{sql}")).await })
    };
    world
        .db
        .until(
            "the order to wait",
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                AND query LIKE '-- application%'",
        )
        .await;
    held.release().await;
    assert_eq!(running.await.unwrap().unwrap()["codes_deleted"], 50);
    let refused = ordering.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION));
}

/// A foreign key that is being added is waited for, and counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_that_is_added_meanwhile_counts() {
    let world = World::with_baseline().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    let mut owner = world.db.connect().await;
    let adding = owner.transaction().await.unwrap();
    adding
        .batch_execute(&format!(
            "CREATE TABLE onceload.orders (merchant_id uuid, code text COLLATE \"C\",
                 FOREIGN KEY (merchant_id, code) REFERENCES onceload.codes ON DELETE CASCADE);
             {}",
            order(&world, "orders", "A000004")
        ))
        .await
        .unwrap();
    let task = world.start_task(run.job, KEEP).await;
    let running = {
        let task = task.with_own_connections(&world);
        tokio::spawn(async move { task.run().await })
    };
    world.db.wait_for_blocked("codes.hold_keys").await;
    adding.commit().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap()["codes_kept"], 1);
    assert_eq!(world.db.int("SELECT count(*) FROM onceload.orders").await, 1);
}

/// What can't be seen can't be kept: the rollback fails before it deletes anything, and names the table and the remedy.
#[tokio::test(flavor = "multi_thread")]
async fn references_that_may_not_be_read_fail_the_rollback_before_it_deletes() {
    let world = World::with_baseline().await;
    let run = world.import_to_end("a.csv", numbered("A", 0..50)).await;
    let admin = world.db.connect_as_admin().await;
    admin
        .batch_execute(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.orders (merchant_id uuid, code text COLLATE \"C\",
                 CONSTRAINT order_code FOREIGN KEY (merchant_id, code) REFERENCES onceload.codes ON DELETE CASCADE)",
        )
        .await
        .unwrap();
    let task = world.start_task(run.job, KEEP).await;
    let fail = async || {
        let error = task.run().await.unwrap_err();
        assert_eq!((error.kind, world.count_codes().await), (StepErrorKind::InvalidInput, 50));
        error.message
    };
    let message = fail().await;
    for part in [
        "order_code on shop.orders",
        "GRANT USAGE ON SCHEMA shop TO onceload",
        "GRANT SELECT (merchant_id, code) ON shop.orders TO onceload",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // The remedy is what the message says.
    let grants = message.split_once("): ").unwrap().1;
    admin.batch_execute(grants).await.unwrap();
    admin.batch_execute("ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY").await.unwrap();
    let message = fail().await;
    assert!(message.ends_with("ALTER ROLE onceload BYPASSRLS"), "{message}");
    admin.batch_execute("ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY").await.unwrap();
    admin
        .batch_execute(&format!("INSERT INTO shop.orders VALUES ('{}', 'A000001')", world.merchant))
        .await
        .unwrap();
    let result = task.run().await.unwrap();
    assert_eq!((&result["codes_deleted"], &result["codes_kept"]), (&json!(49), &json!(1)));
}
