//! A migrated database for each test, copied from a template that is made once per version of `migrations/`. A
//! missing PostgreSQL fails the test; it never skips it.

use crate::application;
use crate::wait;
use sha2::{Digest, Sha256};
use shared::db::{Database, STATEMENTS, Usage};
use std::time::Duration;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// The ordinary role that owns the schema and that the functions connect as.
pub const ROLE: &str = "onceload";
/// The advisory lock under which one process makes the template.
const TEMPLATE_LOCK: i64 = 0x6f6e_6365_7465_7374;

/// The PostgreSQL server that the tests run on.
#[derive(Debug, Clone)]
pub struct Server {
    user: String,
    password: Option<String>,
    /// `host:port`
    address: String,
    /// `host:port` of a transaction-mode pooler through which the functions connect.
    pooler: Option<String>,
    /// `onceload.codes` is a view of an application's table.
    adopted: bool,
}

impl Server {
    /// Reads the superuser's URL from `ONCELOAD_TEST_DATABASE_URL`, which `cargo xtask test` sets. With
    /// `ONCELOAD_TEST_PGBOUNCER_URL` the functions connect through that pooler; the tests themselves never do. With
    /// `ONCELOAD_TEST_ADOPTED` their databases have an application's table of codes.
    pub fn from_env() -> Self {
        let url = std::env::var("ONCELOAD_TEST_DATABASE_URL")
            .expect("the tests need a PostgreSQL of their own: run `cargo xtask test`");
        let pooler = std::env::var("ONCELOAD_TEST_PGBOUNCER_URL").ok();
        let adopted = std::env::var_os("ONCELOAD_TEST_ADOPTED").is_some();
        Self { pooler: pooler.map(|url| Self::of(&url).address), adopted, ..Self::of(&url) }
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
        Self { user: user.to_owned(), password, address: address.to_owned(), pooler: None, adopted: false }
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

    /// Creates the owner's role and the role that reads reports, unless they exist.
    async fn create_roles(&self, admin: &Client) {
        let password = self.password.as_deref().unwrap_or(ROLE);
        let sql = format!(
            "DO $$ BEGIN
                 IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                     CREATE ROLE {ROLE} LOGIN PASSWORD '{password}';
                 END IF;
                 -- A name without its schema fails.
                 ALTER ROLE {ROLE} SET search_path = '';
                 IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'onceload_reader') THEN
                     CREATE ROLE onceload_reader NOLOGIN;
                 END IF;
             END $$"
        );
        admin.batch_execute(&sql).await.expect("making the roles");
    }

    /// The migrated template for these migrations; the first caller makes it.
    pub async fn ensure_template(&self) -> String {
        let shape = if self.adopted { "adopted_" } else { "" };
        let name = format!("onceload_template_{shape}{}", migrations_hash());
        let admin = connect(&self.admin_url("postgres")).await;
        admin
            .batch_execute(&format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})"))
            .await
            .expect("template lock");
        let made = format!("SELECT 1 FROM pg_database WHERE datname = '{name}' AND datistemplate");
        if rows(&admin, &made).await.is_empty() {
            self.create_roles(&admin).await;
            for sql in
                [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name} OWNER {ROLE}")]
            {
                admin.batch_execute(&sql).await.expect("making the template");
            }
            let db = Database::new(&self.url(ROLE, &name), Usage::step(2), None).expect("pool");
            let connection = db.connection().await.expect("connecting to the template");
            shared::db::migrate::migrate(connection).await.expect("migrating the template");
            if self.adopted {
                application::adopt_tables(&connect(&self.url(ROLE, &name)).await, &db).await;
            }
            drop(db);
            self.wait_for_disconnect(&admin, &name).await;
            // The flag also records that the template is complete.
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

    /// PostgreSQL copies a database only while nothing is connected to it.
    async fn wait_for_disconnect(&self, admin: &Client, name: &str) {
        let busy = format!("SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'");
        let gone = async || rows(admin, &busy).await.is_empty().then_some(());
        wait::until("the template's connections to close", Duration::from_millis(10), gone).await;
    }

    /// The same server for tests of the baseline's own table.
    pub fn with_baseline(self) -> Self {
        Self { adopted: false, ..self }
    }

    /// The same server without its pooler.
    pub fn without_pooler(&self) -> Self {
        Self { pooler: None, ..self.clone() }
    }

    /// Creates a migrated database.
    pub async fn create_database(&self) -> TestDb {
        let template = self.ensure_template().await;
        self.copy(&template).await
    }

    /// Creates a database without a schema.
    pub async fn create_empty_database(&self) -> TestDb {
        // This creates the roles, too.
        self.ensure_template().await;
        self.copy("template1").await
    }

    /// Creates a copy of a database to which nothing is connected.
    pub async fn copy(&self, template: &str) -> TestDb {
        let name = format!("onceload_test_{}", uuid::Uuid::now_v7().simple());
        let admin = connect(&self.admin_url("postgres")).await;
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template} OWNER {ROLE}");
        admin.batch_execute(&sql).await.expect("CREATE DATABASE");
        let client = connect(&self.url(ROLE, &name)).await;
        TestDb { server: self.clone(), name, client }
    }
}

/// One test's database; dropping the value drops the database.
pub struct TestDb {
    pub server: Server,
    pub name: String,
    client: Client,
}

impl TestDb {
    pub async fn new() -> Self {
        Server::from_env().create_database().await
    }

    /// A database whose `onceload.codes` is the baseline's table, in every run of the tests.
    pub async fn with_baseline() -> Self {
        Server::from_env().with_baseline().create_database().await
    }

    /// The URL that the functions get: the ordinary role, through the pooler if there is one.
    pub fn url(&self) -> String {
        self.server.url_at(&self.address(), ROLE, &self.name)
    }

    /// `host:port` of what functions connect to: the server, or the pooler before it.
    pub fn address(&self) -> String {
        self.server.pooler.as_ref().unwrap_or(&self.server.address).clone()
    }

    /// `host:port` of the server, without the pooler.
    pub fn direct_address(&self) -> String {
        self.server.address.clone()
    }

    /// The URL that `migrate` gets: the ordinary role, without the pooler.
    pub fn direct_url(&self) -> String {
        self.server.url(ROLE, &self.name)
    }

    /// A pool like a function's.
    pub fn pool(&self, connections: usize) -> Database {
        Database::new(&self.url(), Usage::step(connections), None).expect("pool")
    }

    /// Opens another connection of the ordinary role for the test.
    pub async fn connect(&self) -> Client {
        connect(&self.direct_url()).await
    }

    /// Opens a connection of the superuser.
    pub async fn connect_as_admin(&self) -> Client {
        connect(&self.server.admin_url(&self.name)).await
    }

    /// Closes every connection to the database, so that it can be copied.
    pub async fn disconnect(&mut self) {
        let admin = connect(&self.server.admin_url("postgres")).await;
        // Takes the place of the test's own connection.
        self.client = connect(&self.server.admin_url("postgres")).await;
        self.server.wait_for_disconnect(&admin, &self.name).await;
    }

    /// Connects again after the server was down.
    pub async fn reconnect(&mut self) {
        self.client = self.connect().await;
    }

    /// Runs statements as the ordinary role.
    pub async fn exec(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// Rows as PostgreSQL prints them; NULL is empty.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        rows(&self.client, sql).await
    }

    /// The only value of the only row; NULL is empty.
    pub async fn value(&self, sql: &str) -> String {
        value(&self.client, sql).await
    }

    /// One number.
    pub async fn int(&self, sql: &str) -> i64 {
        let value = self.value(sql).await;
        value.parse().unwrap_or_else(|_| panic!("{sql}: `{value}` is no number"))
    }

    /// The first column of all rows.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        self.rows(sql).await.into_iter().map(|mut row| row.swap_remove(0)).collect()
    }

    /// Repeats the query until it answers true.
    pub async fn until(&self, what: &str, sql: &str) {
        let holds = async || self.rows(sql).await.first().is_some_and(|row| row[0] == "t").then_some(());
        wait::until(what, Duration::from_millis(10), holds).await;
    }

    /// Waits until a statement of this name runs; names stand in the statements' first lines.
    pub async fn wait_for_running(&self, statement: &str) {
        self.wait_for_statement(statement, "to run", "state = 'active'").await;
    }

    /// Waits until a statement of this name waits for a lock.
    pub async fn wait_for_blocked(&self, statement: &str) {
        self.wait_for_statement(statement, "to wait for a lock", "wait_event_type = 'Lock'").await;
    }

    async fn wait_for_statement(&self, statement: &str, what: &str, condition: &str) {
        assert_named(statement);
        let sql = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity
              WHERE datname = current_database() AND {condition} AND query LIKE '-- {statement}%'"
        );
        self.until(&format!("{statement} {what}"), &sql).await;
    }

    /// Waits until no backend works in a transaction of this name: after a kill, the server notices by itself.
    pub async fn wait_for_end(&self, transaction: &str) {
        let sql = format!(
            "SELECT count(*) = 0 FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'onceload {transaction}'"
        );
        self.until(&format!("the end of transaction {transaction}"), &sql).await;
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

/// Fails at once if no statement has this name. Statements on staging and on references to codes are composed: no list has them.
fn assert_named(statement: &str) {
    let exists = STATEMENTS.into_iter().flatten().any(|named| named.name.starts_with(statement));
    let composed = ["staging.", "codes.lock", "codes.delete_locked"];
    let exists = exists || composed.iter().any(|name| statement.starts_with(name));
    assert!(exists, "no statement is named {statement}");
}

/// Connects; the connection lives as long as the client.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|e| panic!("connecting to PostgreSQL: {e:?}"));
    tokio::spawn(connection);
    client
}

/// Rows as PostgreSQL prints them; NULL is empty.
pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let text = |row: &SimpleQueryRow| {
        (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()
    };
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(text(row)),
            _ => None,
        })
        .collect()
}

/// The only value of the only row; NULL is empty.
pub async fn value(client: &Client, sql: &str) -> String {
    let mut rows = rows(client, sql).await;
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0).swap_remove(0)
}

/// Names the version of `migrations/`.
fn migrations_hash() -> String {
    let directory = xtask::project::root().join("migrations");
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
