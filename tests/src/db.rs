//! A migrated database of its own for each test, copied from a template that is made once per version of
//! `migrations/`. No PostgreSQL is an error, never a reason to skip.

use sha2::{Digest, Sha256};
use shared::db::Database;
use std::path::Path;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The ordinary role that owns the schema and that the functions connect as.
pub const ROLE: &str = "onceload";
/// Serialises making the template, between threads and between processes.
const TEMPLATE_LOCK: i64 = 0x6f6e_6365_7465_7374;

/// The server that the tests were given.
#[derive(Debug, Clone)]
pub struct Server {
    /// `user:password@` as it stands in the URL, then `host:port`.
    user: String,
    password: Option<String>,
    address: String,
    /// `host:port` of a transaction-mode pooler before it, through which functions then go.
    pooler: Option<String>,
}

impl Server {
    /// From `ONCELOAD_TEST_DATABASE_URL`, which `cargo xtask test` sets: a superuser's URL. With
    /// `ONCELOAD_TEST_PGBOUNCER_URL`, functions go through that pooler; what the tests do themselves doesn't.
    pub fn from_env() -> Self {
        let url = std::env::var("ONCELOAD_TEST_DATABASE_URL")
            .expect("the tests need a PostgreSQL of their own: run `cargo xtask test`");
        let pooler = std::env::var("ONCELOAD_TEST_PGBOUNCER_URL").ok();
        Self { pooler: pooler.map(|url| Self::of(&url).address), ..Self::of(&url) }
    }

    /// A server by a superuser's URL, `postgres://user[:password]@host:port/database`.
    pub fn of(url: &str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (credentials, rest) = rest.rsplit_once('@').unwrap_or(("postgres", rest));
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password.to_owned())),
            None => (credentials, None),
        };
        let address = rest.split(['/', '?']).next().unwrap_or(rest);
        Self { user: user.to_owned(), password, address: address.to_owned(), pooler: None }
    }

    /// A URL of this server; both roles have the same password.
    pub fn url(&self, role: &str, database: &str) -> String {
        self.url_at(&self.address, role, database)
    }

    fn url_at(&self, address: &str, role: &str, database: &str) -> String {
        let password = self.password.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
        format!("postgres://{role}{password}@{address}/{database}?sslmode=disable")
    }

    pub fn admin_url(&self, database: &str) -> String {
        self.url(&self.user, database)
    }

    /// Makes the ordinary role where it is missing, and the role that reads reports.
    async fn provide_roles(&self, admin: &Client) {
        let password = self.password.as_deref().unwrap_or(ROLE);
        let sql = format!(
            "DO $$ BEGIN
                 IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                     CREATE ROLE {ROLE} LOGIN PASSWORD '{password}';
                 END IF;
                 IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'onceload_reader') THEN
                     CREATE ROLE onceload_reader NOLOGIN;
                 END IF;
             END $$"
        );
        admin.batch_execute(&sql).await.expect("making the roles");
    }

    /// The migrated template for these migrations; made by whoever comes first.
    pub async fn template(&self) -> String {
        let name = format!("onceload_template_{}", migrations_hash());
        let admin = connect(&self.admin_url("postgres")).await;
        admin
            .batch_execute(&format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})"))
            .await
            .expect("template lock");
        let made = format!("SELECT 1 FROM pg_database WHERE datname = '{name}' AND datistemplate");
        if rows(&admin, &made).await.is_empty() {
            self.provide_roles(&admin).await;
            for sql in
                [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name} OWNER {ROLE}")]
            {
                admin.batch_execute(&sql).await.expect("making the template");
            }
            let db = Database::new(&self.url(ROLE, &name), 1, None).expect("pool");
            let connection = db.connection().await.expect("connecting to the template");
            shared::db::migrate::migrate(connection).await.expect("migrating the template");
            drop(db);
            self.quiet(&admin, &name).await;
            // Also says that it is complete.
            admin
                .batch_execute(&format!("ALTER DATABASE {name} IS_TEMPLATE true"))
                .await
                .expect("marking the template");
        }
        admin
            .batch_execute(&format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})"))
            .await
            .expect("template unlock");
        name
    }

    /// A database that somebody is connected to can't be copied.
    async fn quiet(&self, admin: &Client, name: &str) {
        let busy = format!("SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'");
        while !rows(admin, &busy).await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// A new, migrated database.
    pub async fn database(&self) -> TestDb {
        let template = self.template().await;
        self.copy_of(&template).await
    }

    /// A new database without anything in it.
    pub async fn empty_database(&self) -> TestDb {
        // Makes the roles as well.
        self.template().await;
        self.copy_of("template1").await
    }

    async fn copy_of(&self, template: &str) -> TestDb {
        let name = format!("onceload_test_{}", uuid::Uuid::now_v7().simple());
        let admin = connect(&self.admin_url("postgres")).await;
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template} OWNER {ROLE}");
        admin.batch_execute(&sql).await.expect("CREATE DATABASE");
        let client = connect(&self.url(ROLE, &name)).await;
        TestDb { server: self.clone(), name, client }
    }
}

/// One test's database. Dropped with the value.
pub struct TestDb {
    pub server: Server,
    pub name: String,
    client: Client,
}

impl TestDb {
    pub async fn new() -> Self {
        Server::from_env().database().await
    }

    /// The URL that functions get: the ordinary role, through the pooler if there is one.
    pub fn url(&self) -> String {
        let address = self.server.pooler.as_deref().unwrap_or(&self.server.address);
        self.server.url_at(address, ROLE, &self.name)
    }

    /// The URL past any pooler, as `migrate` gets it.
    pub fn direct_url(&self) -> String {
        self.server.url(ROLE, &self.name)
    }

    /// A pool as a function has one.
    pub fn pool(&self, connections: usize) -> Database {
        Database::new(&self.url(), connections, None).expect("pool")
    }

    /// One more connection of the ordinary role, for the test itself.
    pub async fn connect(&self) -> Client {
        connect(&self.direct_url()).await
    }

    /// A connection of the superuser.
    pub async fn admin(&self) -> Client {
        connect(&self.server.admin_url(&self.name)).await
    }

    /// Connects again, after the server has been away.
    pub async fn reconnect(&mut self) {
        self.client = self.connect().await;
    }

    /// Runs statements as the ordinary role.
    pub async fn exec(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// Rows as PostgreSQL prints them.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        rows(&self.client, sql).await
    }

    /// One value of one row, or "" for NULL.
    pub async fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0][0].clone().unwrap_or_default()
    }

    /// One number.
    pub async fn int(&self, sql: &str) -> i64 {
        let value = self.value(sql).await;
        value.parse().unwrap_or_else(|_| panic!("{sql}: `{value}` is no number"))
    }

    /// One column of all rows.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        self.rows(sql).await.into_iter().map(|row| row[0].clone().unwrap_or_default()).collect()
    }

    /// Asks again until it is true. Panics after half a minute.
    pub async fn until(&self, what: &str, sql: &str) {
        let started = std::time::Instant::now();
        loop {
            if self.rows(sql).await.first().and_then(|row| row[0].as_deref()) == Some("t") {
                return;
            }
            assert!(started.elapsed().as_secs() < 30, "waited in vain for: {what}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (url, name) = (self.server.admin_url("postgres"), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else { return };
                tokio::spawn(connection);
                let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        let _ = dropping.join();
    }
}

/// Connects; the connection lives as long as the client.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|e| panic!("connecting to PostgreSQL: {e:?}"));
    tokio::spawn(connection);
    client
}

/// Rows as PostgreSQL prints them.
pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect()
}

/// Names the schema that `migrations/` make.
fn migrations_hash() -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("migrations/")
        .map(|entry| entry.expect("migrations/").path())
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .collect();
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.file_name().expect("name").as_encoded_bytes());
        hash.update(std::fs::read(&file).expect("migration"));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
