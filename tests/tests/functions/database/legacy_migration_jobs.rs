//! Migrating a database that holds the migration jobs of an earlier system, duplicates included.

use onceload_tests::TestDb;
use onceload_tests::db::Server;
use shared::db::migrate::migrate;
use shared::db::{Database, Usage};
use tokio_postgres::error::SqlState;

const MIGRATION: &str = include_str!("../../../../migrations/V11__earlier_migration_jobs.sql");

/// The earlier system's table, moved aside as docs/DATA_MODEL.md says.
async fn create_with_legacy_jobs(user_id: &str, rows: &str) -> TestDb {
    let db = Server::from_env().create_empty_database().await;
    db.exec(&format!(
        "CREATE TABLE public.migration_jobs (id uuid PRIMARY KEY, user_id {user_id} NOT NULL, merchant_id uuid, status text,
                                      idempotency_key text NOT NULL, created_at timestamptz NOT NULL);
         INSERT INTO public.migration_jobs
         SELECT lpad(id::text, 32, '0')::uuid, '00000000-0000-0000-0000-00000000000a', NULL, status, key,
                timestamptz '2025-01-01' + at * interval '1 minute'
           FROM (VALUES {rows}) AS v (id, status, key, at);
         CREATE SCHEMA legacy;
         ALTER TABLE public.migration_jobs SET SCHEMA legacy"
    ))
    .await;
    db
}

async fn read_statuses(db: &TestDb) -> Vec<String> {
    db.column(
        "SELECT ltrim(replace(id::text, '-', ''), '0') || ' ' || base_idempotency_key || ' ' || status
                || coalesce(' was ' || status_before_adoption, '')
           FROM legacy.migration_jobs ORDER BY id",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_duplicate_jobs_the_most_advanced_stays() {
    for user_id in ["text", "uuid"] {
        let db = create_with_legacy_jobs(
            user_id,
            "(11, 'completed', 'alive_1735689600000', 9), (12, 'pending', 'alive_1735689600001', 8),
             (13, 'processing', 'alive_1735689600002', 1), (14, 'processing', 'alive_1735689600003', 2),
             (15, 'failed', 'alive_1735689600004', 10), (16, 'cancelled', 'alive_1735689600005', 11),
             (21, 'failed', 'done_1735689600000', 3), (22, 'completed', 'done_1735689600001', 1),
             (23, 'completed', 'done_1735689600002', 2),
             (31, 'failed', 'lost_1735689600000', 1), (32, 'failed', 'lost_1735689600001', 2),
             (41, 'pending', 'alone_1735689600000', 1), (42, 'processing', 'no-timestamp', 1),
             (43, 'pending', 'a_1_22', 1), (44, 'pending', 'a_1735689600000_1735689600001', 1)",
        )
        .await;
        let direct = Database::new(&db.direct_url(), Usage::step(1), None).unwrap();
        let done = migrate(direct.connection().await.unwrap()).await.unwrap();
        assert!(done.applied.contains(&11), "{done:?}");
        let expected = [
            "11 alive cancelled was completed",
            "12 alive cancelled was pending",
            "13 alive cancelled was processing",
            "14 alive processing",
            "15 alive cancelled was failed",
            "16 alive cancelled",
            "21 done cancelled was failed",
            "22 done cancelled was completed",
            "23 done completed",
            "31 lost cancelled was failed",
            "32 lost failed",
            "41 alone pending",
            "42 no-timestamp processing",
            "43 a_1_22 pending",
            "44 a_1735689600000 pending",
        ];
        assert_eq!(read_statuses(&db).await, expected);
        db.exec(MIGRATION).await;
        assert_eq!(read_statuses(&db).await, expected, "twice");
        // From now on the database allows one active run per base key, and another once that has ended.
        let client = db.connect().await;
        let run = |status: &str, at: i64| {
            format!(
                "INSERT INTO legacy.migration_jobs (id, user_id, status, idempotency_key, base_idempotency_key, created_at)
                 VALUES (gen_random_uuid(), '00000000-0000-0000-0000-00000000000b', '{status}', 'alive_{at}', 'alive', now())"
            )
        };
        let refused = client.batch_execute(&run("pending", 1_735_689_700_000)).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::UNIQUE_VIOLATION));
        db.exec("UPDATE legacy.migration_jobs SET status = 'completed' WHERE status = 'processing'").await;
        db.exec(&run("processing", 1_735_689_700_001)).await;
        // Onceload's own table is another one, and empty.
        assert_eq!(db.int("SELECT count(*) FROM onceload.migration_jobs").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_legacy_table_nothing_happens() {
    let db = TestDb::new().await;
    db.exec(MIGRATION).await;
    assert_eq!(db.value("SELECT to_regclass('legacy.migration_jobs')").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_shape_is_not_touched() {
    let db = Server::from_env().create_empty_database().await;
    db.exec("CREATE SCHEMA legacy; CREATE TABLE legacy.migration_jobs (id uuid, status text)").await;
    let error = db.connect().await.batch_execute(MIGRATION).await.unwrap_err();
    let refused = error.as_db_error().unwrap();
    assert!(refused.message().contains("has no column idempotency_key, created_at"), "{refused:?}");
    assert!(refused.hint().is_some(), "{refused:?}");
    assert_eq!(
        db.column("SELECT attname FROM pg_attribute WHERE attrelid = 'legacy.migration_jobs'::regclass AND attnum > 0").await,
        ["id", "status"]
    );
}
