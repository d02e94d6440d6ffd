//! The schema: every statement prepares against it, and it enforces transitions, roles and visibility.

use onceload_tests::concurrency::all_at_once;
use onceload_tests::db::{Server, connect, rows, value};
use onceload_tests::{TestDb, World};
use shared::db::migrate::migrate;
use shared::db::{Database, STATEMENTS, Usage};
use shared::domain::status::Status;
use shared::domain::step::StepErrorKind;
use std::path::{Path, PathBuf};
use tokio_postgres::error::SqlState;

#[tokio::test(flavor = "multi_thread")]
#[allow(
    clippy::disallowed_methods,
    reason = "preparing is what is tested, and nothing pools this connection"
)]
async fn every_statement_is_named_and_can_be_prepared() {
    let db = TestDb::new().await;
    let client = db.connect().await;
    for statement in STATEMENTS.into_iter().flatten() {
        let first = statement.sql.lines().next().unwrap();
        assert_eq!(first, format!("-- {}", statement.name), "the first line shows in the server's log");
        if let Err(error) = client.prepare(statement.sql).await {
            panic!("{}: {error:?}", statement.name);
        }
    }
    let mut declared: Vec<&str> = STATEMENTS.into_iter().flatten().map(|statement| statement.name).collect();
    // Its text stands in Rust, beside the tables that it lists.
    declared.retain(|name| *name != "staging.tables");
    declared.sort_unstable();
    assert_eq!(declared, list_statement_files(), "a .sql file that no statement reads");
}

/// The statements by their files: `<room>.<verb>` for `shared/src/db/<room>/<verb>.sql`.
fn list_statement_files() -> Vec<String> {
    let database = xtask::project::root().join("shared/src/db");
    let entries = |directory: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut names = vec!["pool.ping".to_owned(), "pool.size".to_owned()];
    for room in entries(&database).into_iter().filter(|path| path.is_dir()) {
        let files =
            entries(&room).into_iter().filter(|path| path.extension().is_some_and(|end| end == "sql"));
        names.extend(files.map(|file| format!("{}.{}", stem(&room), stem(&file))));
    }
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_trigger_allows_exactly_the_transitions_of_the_code() {
    let world = World::new().await;
    // Drop the CHECKs of the states' contents, to test the transitions alone.
    let checks = world
        .db
        .column("SELECT conname FROM pg_constraint WHERE conrelid = 'onceload.codes_import_jobs'::regclass AND contype = 'c'")
        .await;
    for check in checks.iter().filter(|name| *name != "codes_import_jobs_status") {
        world.db.exec(&format!("ALTER TABLE onceload.codes_import_jobs DROP CONSTRAINT {check}")).await;
    }
    // And an approval of what is clean, without which validation doesn't go on to insert.
    world
        .db
        .exec(
            "ALTER TABLE onceload.codes_import_jobs ALTER approved_clean SET DEFAULT 1, ALTER approved_checksum SET DEFAULT 1,
                    ALTER total_codes_to_insert SET DEFAULT 1, ALTER clean_checksum SET DEFAULT 1",
        )
        .await;
    let client = world.db.connect().await;
    let mut pairs = 0;
    for from in Status::ALL {
        for to in Status::ALL {
            let (id, from_name, to_name) = (uuid::Uuid::now_v7(), from.as_str(), to.as_str());
            world
                .db
                .exec(&format!(
                    "INSERT INTO onceload.codes_import_jobs (id, merchant_id, status, source_info)
                     VALUES ('{id}', '{}', '{from_name}', '{{}}')",
                    world.merchant
                ))
                .await;
            let moved = client
                .batch_execute(&format!(
                    "UPDATE onceload.codes_import_jobs SET status = '{to_name}' WHERE id = '{id}'"
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
    assert!(
        client.batch_execute("DELETE FROM onceload.codes_import_jobs").await.is_err(),
        "jobs are never deleted"
    );
    let fall = client.batch_execute("UPDATE onceload.codes_import_jobs SET attempt = attempt - 1").await;
    assert!(fall.is_err(), "an attempt never decreases");
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_is_unlogged_and_readable_by_its_owner_only() {
    let world = World::new().await;
    let _run = world.import_until_approval("a.csv", "code\nA\nA\n").await;
    let tables = world
        .db
        .column(
            "SELECT relname || ' ' || relpersistence::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE nspname = 'onceload_staging' ORDER BY 1",
        )
        .await;
    assert_eq!(tables.len(), 2, "{tables:?}");
    assert!(tables.iter().all(|table| table.ends_with(" u")), "{tables:?}");
    let admin = world.db.connect_as_admin().await;
    admin.batch_execute("SET ROLE onceload_reader").await.unwrap();
    let table = tables[0].split(' ').next().unwrap();
    let refused = admin.batch_execute(&format!("SELECT * FROM onceload_staging.{table}")).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_only_the_merchants_it_names() {
    let world = World::with_baseline().await;
    let other = onceload_tests::fixture::add_merchant(&world.db, "Second").await;
    world.add_codes(&["MINE"]).await;
    world
        .db
        .exec(&format!("INSERT INTO onceload.codes (merchant_id, code) VALUES ('{other}', 'THEIRS')"))
        .await;
    let _run = world.import_until_approval("a.csv", "code,points\nA,1\nB,x\n").await;

    let reader = world.db.connect_as_admin().await;
    reader.batch_execute("SET ROLE onceload_reader").await.unwrap();
    let count = async |what: &str| -> String {
        value(&reader, &format!("SELECT count(*) FROM onceload.{what}")).await
    };
    for table in ["codes", "import_rejects"] {
        assert_eq!(count(table).await, "0", "{table} without the setting");
    }
    assert_eq!(rows(&reader, "SELECT id FROM onceload.codes_import_jobs").await.len(), 0);
    reader.batch_execute(&format!("SET onceload.merchant_ids = '{other}'")).await.unwrap();
    assert_eq!(rows(&reader, "SELECT code FROM onceload.codes").await, [["THEIRS"]]);
    assert_eq!(count("import_rejects").await, "0");
    assert_eq!(rows(&reader, "SELECT id FROM onceload.codes_import_jobs").await.len(), 0);
    reader.batch_execute(&format!("SET onceload.merchant_ids = '{}'", world.merchant)).await.unwrap();
    assert_eq!(rows(&reader, "SELECT code FROM onceload.codes").await, [["MINE"]]);
    assert_eq!(count("import_rejects").await, "1");
    assert_eq!(rows(&reader, "SELECT status FROM onceload.codes_import_jobs").await.len(), 1);
    let token = reader.batch_execute("SELECT task_token FROM onceload.codes_import_jobs").await.unwrap_err();
    assert_eq!(token.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "who has the token can approve");
    let write = reader.batch_execute("DELETE FROM onceload.codes").await.unwrap_err();
    assert_eq!(write.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

/// What others than the owner may do with the schemas, what is in them, and the columns: `<role> <privilege> <object>`.
/// PUBLIC is `-`.
const GRANTS: &str = "
    WITH room AS (SELECT * FROM pg_namespace WHERE nspname LIKE 'onceload%'),
    object (name, owner, rights) AS (
        SELECT nspname::text, nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM room
        UNION ALL
        SELECT c.oid::regclass::text, relowner,
               coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))
          FROM pg_class c JOIN room ON room.oid = relnamespace WHERE relkind <> 'i'
        UNION ALL
        SELECT c.oid::regclass || '.' || attname, relowner, attacl
          FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN room ON room.oid = relnamespace
         WHERE attacl IS NOT NULL
        UNION ALL
        SELECT p.oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
          FROM pg_proc p JOIN room ON room.oid = pronamespace
    )
    SELECT grantee::regrole || ' ' || privilege_type || ' ' || name
      FROM object CROSS JOIN aclexplode(rights) WHERE grantee <> owner ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn only_the_reader_has_rights_and_only_those_it_was_granted() {
    let db = TestDb::with_baseline().await;
    let (columns, objects): (Vec<String>, Vec<String>) =
        db.column(GRANTS).await.into_iter().partition(|grant| grant.contains("codes_import_jobs."));
    let expected = [
        "onceload_reader EXECUTE onceload.merchant_ids()",
        "onceload_reader SELECT onceload.codes",
        "onceload_reader SELECT onceload.import_rejects",
        "onceload_reader USAGE onceload",
    ];
    assert_eq!(objects, expected);
    assert!(columns.contains(&"onceload_reader SELECT onceload.codes_import_jobs.status".to_owned()));
    for column in columns {
        assert!(column.starts_with("onceload_reader SELECT "), "{column}");
        assert!(!column.ends_with(".task_token"), "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_lies_in_the_schema_public() {
    let db = TestDb::with_baseline().await;
    let names = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
                 UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                 UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace";
    assert_eq!(db.column(names).await, [""; 0]);
}

/// A person's URL sets the search_path, as the one in `stack.json` does.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_staged_rows_without_naming_the_schema() {
    let world = World::new().await;
    world.add_codes(&["B"]).await;
    let run = world.import_until_approval("a.csv", "code\nA\nB\nA\n").await;
    let url = format!("{}&options=-c%20search_path%3Donceload%2Cpublic", world.db.direct_url());
    let person = connect(&url).await;
    let sql = format!(
        "SELECT row_number % 1000000000000, code, merchant_id, internal_dup, existing_dup, late_dup
           FROM codes_check_temp('{}') ORDER BY row_number",
        run.job
    );
    let merchant = world.merchant.to_string();
    let expected = [
        ["1", "A", &merchant, "f", "f", "f"],
        ["2", "B", &merchant, "f", "t", "f"],
        ["3", "A", &merchant, "t", "f", "f"],
    ];
    assert_eq!(rows(&person, &sql).await, expected);
    let unknown = format!("SELECT * FROM codes_check_temp('{}')", uuid::Uuid::nil());
    assert_eq!(person.batch_execute(&unknown).await.unwrap_err().code(), Some(&SqlState::NO_DATA_FOUND));
}

/// The pool that `migrate` uses: directly, without a pooler.
fn direct_pool(db: &TestDb) -> Database {
    Database::new(&db.direct_url(), Usage::step(1), None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_deployments_run_each_migration_once() {
    let directory = xtask::project::root().join("migrations");
    let mut versions: Vec<i64> = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            let (version, _) = name.strip_prefix('V').and_then(|name| name.split_once("__")).expect(&name);
            version.parse().expect(&name)
        })
        .collect();
    versions.sort_unstable();
    let db = Server::from_env().create_empty_database().await;
    let deployments = (0..4).map(|_| {
        let pool = direct_pool(&db);
        async move { migrate(pool.connection().await.unwrap()).await.unwrap() }
    });
    let mut applied = Vec::new();
    for migrated in all_at_once(deployments).await {
        applied.extend(migrated.applied);
        assert_eq!(Some(&migrated.version), versions.last());
    }
    assert_eq!(applied, versions, "each migration is applied once, in order");
    let again = migrate(direct_pool(&db).connection().await.unwrap()).await.unwrap();
    assert!(again.applied.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_create_schemas_can_migrate() {
    let db = Server::from_env().create_empty_database().await;
    let admin = db.connect_as_admin().await;
    let role = format!("migrator_{}", uuid::Uuid::now_v7().simple());
    let sql = format!("CREATE ROLE {role}; GRANT CREATE ON DATABASE {} TO {role}", db.name);
    admin.batch_execute(&sql).await.unwrap();
    let url = format!("{}&options=-c%20role%3D{role}", db.server.admin_url(&db.name));
    let pool = Database::new(&url, Usage::step(1), None).unwrap();
    let migrated = migrate(pool.connection().await.unwrap()).await.unwrap();
    assert_eq!(migrated.applied.last(), Some(&migrated.version));
    assert_eq!(value(&admin, "SELECT tableowner FROM pg_tables WHERE tablename = 'codes'").await, role);
    // A role outlives the database.
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_other_migrations_made_is_refused() {
    for (difference, migration) in [
        ("UPDATE onceload.refinery_schema_history SET checksum = '1' WHERE version = 3", "V3__codes"),
        (
            "INSERT INTO onceload.refinery_schema_history
             SELECT 99, 'later', applied_on, checksum FROM onceload.refinery_schema_history WHERE version = 1",
            "V99__later",
        ),
    ] {
        let db = TestDb::new().await;
        db.exec(difference).await;
        let refused = migrate(direct_pool(&db).connection().await.unwrap()).await.unwrap_err();
        assert_eq!(refused.kind, StepErrorKind::InvalidInput);
        assert!(refused.message.contains(migration), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_says_which_one_and_why() {
    let db = Server::from_env().create_empty_database().await;
    db.exec("CREATE SCHEMA onceload; CREATE TABLE onceload.codes (code text)").await;
    let failed = migrate(direct_pool(&db).connection().await.unwrap()).await.unwrap_err();
    assert_eq!(failed.kind, StepErrorKind::Internal, "{failed}");
    for says in ["V3__codes", "relation \"codes\" already exists", "42P07"] {
        assert!(failed.message.contains(says), "{failed}");
    }
}

/// The functions connect as this role, so no other test can have relied on a privilege.
#[tokio::test(flavor = "multi_thread")]
async fn the_functions_role_has_no_special_privileges_and_no_search_path() {
    let db = TestDb::new().await;
    let client = connect(&db.url()).await;
    let privileged = value(
        &client,
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = current_user",
    );
    assert_eq!(privileged.await, "f");
    assert_eq!(value(&client, "SELECT current_setting('search_path')").await, "\"\"");
}
