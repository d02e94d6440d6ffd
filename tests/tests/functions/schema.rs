//! The schema, and every statement against it.

use onceload_tests::db::{Server, connect, rows};
use onceload_tests::{Bench, State, TestDb};
use shared::db::Database;
use shared::db::migrate::migrate;
use shared::db::sql;
use shared::domain::job::Status;
use tokio_postgres::error::SqlState;

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods)] // Preparing is what is tested; nothing pools this connection.
async fn every_statement_is_named_and_prepares() {
    let db = TestDb::new().await;
    let client = db.connect().await;
    for statement in sql::ALL {
        let first = statement.sql.lines().next().unwrap();
        assert_eq!(first, format!("-- {}", statement.name), "the first line is what the server's log shows");
        if let Err(error) = client.prepare(statement.sql).await {
            panic!("{}: {error:?}", statement.name);
        }
    }
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/src/db/sql");
    let files = std::fs::read_dir(directory).unwrap().count();
    assert_eq!(files, sql::ALL.len(), "a file in sql/ that no statement reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trigger_allows_exactly_the_edges_of_the_code() {
    let bench = Bench::new().await;
    // The CHECKs say what a state needs; here it is about the edges alone.
    let checks = bench
        .db
        .column("SELECT conname FROM pg_constraint WHERE conrelid = 'codes_import_jobs'::regclass AND contype = 'c'")
        .await;
    for check in checks.iter().filter(|name| *name != "codes_import_jobs_status") {
        bench.db.exec(&format!("ALTER TABLE codes_import_jobs DROP CONSTRAINT {check}")).await;
    }
    let client = bench.db.connect().await;
    let mut pairs = 0;
    for from in Status::ALL {
        for to in Status::ALL {
            let (id, from_name, to_name) = (uuid::Uuid::now_v7(), from.as_str(), to.as_str());
            bench
                .db
                .exec(&format!(
                    "INSERT INTO codes_import_jobs (id, merchant_id, status, source_info)
                     VALUES ('{id}', '{}', '{from_name}', '{{}}')",
                    bench.merchant
                ))
                .await;
            let moved = client
                .batch_execute(&format!(
                    "UPDATE codes_import_jobs SET status = '{to_name}' WHERE id = '{id}'"
                ))
                .await;
            let allowed = from == to || from.may_become(*to);
            match moved {
                Ok(()) => assert!(allowed, "{from_name} became {to_name}"),
                Err(error) => {
                    let constraint = error.as_db_error().and_then(|e| e.constraint());
                    assert_eq!(constraint, Some("codes_import_jobs_transition"), "{error:?}");
                    assert!(!allowed, "{from_name} may become {to_name}");
                }
            }
            pairs += 1;
        }
    }
    assert_eq!(pairs, 121);
    assert!(client.batch_execute("DELETE FROM codes_import_jobs").await.is_err(), "jobs are never deleted");
    let fall = client.batch_execute("UPDATE codes_import_jobs SET attempt = attempt - 1").await;
    assert!(fall.is_err(), "an attempt never falls");
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_is_unlogged_and_the_owners_alone() {
    let bench = Bench::new().await;
    let mut run = bench.file("a.csv", "code\nA\nA\n");
    run.until(State::InsertCodes).await.expect(State::InsertCodes);
    let tables = bench
        .db
        .column(
            "SELECT relname || ' ' || relpersistence::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE nspname = 'onceload_staging' ORDER BY 1",
        )
        .await;
    assert_eq!(tables.len(), 2, "{tables:?}");
    assert!(tables.iter().all(|table| table.ends_with(" u")), "{tables:?}");
    let admin = bench.db.admin().await;
    admin.batch_execute("SET ROLE onceload_reader").await.unwrap();
    let table = tables[0].split(' ').next().unwrap();
    let refused = admin.batch_execute(&format!("SELECT * FROM onceload_staging.{table}")).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_roles_see_the_merchants_that_they_name() {
    let bench = Bench::new().await;
    let other = onceload_tests::fixture::add_merchant(&bench.db, "Second").await;
    bench.add_codes(&["MINE"]).await;
    bench.db.exec(&format!("INSERT INTO codes (merchant_id, code) VALUES ('{other}', 'THEIRS')")).await;
    let mut run = bench.file("a.csv", "code,points\nA,1\nB,x\n");
    run.until(State::InsertCodes).await.expect(State::InsertCodes);

    let reader = bench.db.admin().await;
    reader.batch_execute("SET ROLE onceload_reader").await.unwrap();
    let count = async |what: &str| -> String {
        rows(&reader, &format!("SELECT count(*) FROM {what}")).await[0][0].clone().unwrap()
    };
    for table in ["codes", "import_rejects"] {
        assert_eq!(count(table).await, "0", "{table} without the setting");
    }
    assert_eq!(rows(&reader, "SELECT id FROM codes_import_jobs").await.len(), 0);
    reader.batch_execute(&format!("SET onceload.merchant_ids = '{other}'")).await.unwrap();
    assert_eq!(rows(&reader, "SELECT code FROM codes").await, [[Some("THEIRS".to_owned())]]);
    assert_eq!(count("import_rejects").await, "0");
    assert_eq!(rows(&reader, "SELECT id FROM codes_import_jobs").await.len(), 0);
    reader.batch_execute(&format!("SET onceload.merchant_ids = '{}'", bench.merchant)).await.unwrap();
    assert_eq!(rows(&reader, "SELECT code FROM codes").await, [[Some("MINE".to_owned())]]);
    assert_eq!(count("import_rejects").await, "1");
    assert_eq!(rows(&reader, "SELECT status FROM codes_import_jobs").await.len(), 1);
    let token = reader.batch_execute("SELECT task_token FROM codes_import_jobs").await.unwrap_err();
    assert_eq!(token.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "whoever holds the token can approve");
    let write = reader.batch_execute("DELETE FROM codes").await.unwrap_err();
    assert_eq!(write.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

/// The connection that `migrate` has: past any pooler.
fn direct(db: &TestDb) -> Database {
    Database::new(&db.direct_url(), 1, None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_however_often_and_by_however_many() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    let mut versions: Vec<i64> = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            let (version, _) = name.strip_prefix('V').and_then(|name| name.split_once("__")).expect(&name);
            version.parse().expect(&name)
        })
        .collect();
    versions.sort_unstable();
    let db = Server::from_env().empty_database().await;
    let mut deploys = Vec::new();
    for _ in 0..4 {
        let pool = direct(&db);
        deploys.push(tokio::spawn(async move { migrate(pool.connection().await.unwrap()).await.unwrap() }));
    }
    let mut applied = Vec::new();
    for deploy in deploys {
        let migrated = deploy.await.unwrap();
        applied.extend(migrated.applied);
        assert_eq!(Some(&migrated.version), versions.last());
    }
    assert_eq!(applied, versions, "each once, by one of them, in order");
    let again = migrate(direct(&db).connection().await.unwrap()).await.unwrap();
    assert!(again.applied.is_empty());
}

/// The functions connect as an ordinary role: nothing above may have needed more.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_is_an_ordinary_one() {
    let db = TestDb::new().await;
    let client = connect(&db.url()).await;
    let role = rows(
        &client,
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = current_user",
    )
    .await;
    assert_eq!(role[0][0].as_deref(), Some("f"));
}
