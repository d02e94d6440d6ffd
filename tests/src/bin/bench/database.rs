//! The benchmark's own databases on the server that xtask has started.

use crate::Outcome;
use crate::production::Production;
use bytes::Bytes;
use futures_util::SinkExt;
use shared::db::migrate::migrate;
use shared::db::{Database, Usage};
use shared::domain::ids::JobId;
use std::path::{Path, PathBuf};
use std::pin::pin;
use tokio::io::AsyncReadExt;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The server: where it is, and who may do everything there.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub port: u16,
    pub password: Option<String>,
    pub administrator: String,
    role: String,
}

impl Server {
    pub(crate) fn from_env() -> Outcome<Self> {
        let url = std::env::var("ONCELOAD_TEST_DATABASE_URL").map_err(|_| "run `cargo xtask bench`")?;
        let config: tokio_postgres::Config = url.parse()?;
        Ok(Self {
            port: config.get_ports().first().copied().unwrap_or(5432),
            password: config.get_password().map(|it| String::from_utf8_lossy(it).into_owned()),
            administrator: config.get_user().unwrap_or("postgres").to_owned(),
            role: std::env::var("ONCELOAD_TEST_ROLE").unwrap_or_else(|_| "onceload".into()),
        })
    }

    fn url(&self, user: &str, database: &str) -> String {
        // The role has the superuser's password, where there is one.
        let password = self.password.as_ref().map(|it| format!(":{it}")).unwrap_or_default();
        format!("postgres://{user}{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    pub(crate) async fn administer(&self, database: &str) -> Outcome<Client> {
        connect(&self.url(&self.administrator, database)).await
    }

    /// Makes a database anew, owned by the functions' ordinary role.
    pub(crate) async fn create(&self, name: &str) -> Outcome<()> {
        self.drop(name).await?;
        let admin = self.administer("postgres").await?;
        Ok(admin.batch_execute(&format!("CREATE DATABASE {name} OWNER {}", self.role)).await?)
    }

    pub(crate) async fn drop(&self, name: &str) -> Outcome<()> {
        let admin = self.administer("postgres").await?;
        Ok(admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?)
    }
}

async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// One number.
pub(crate) async fn number(client: &Client, sql: &str) -> Outcome<u64> {
    let row = client.query_typed_one(sql, &[]).await?;
    Ok(u64::try_from(row.get::<_, i64>(0))?)
}

/// One text.
pub(crate) async fn text(client: &Client, sql: &str) -> Outcome<String> {
    Ok(client.query_typed_one(sql, &[]).await?.get(0))
}

/// Where the write-ahead log is, in bytes.
pub(crate) async fn wal(client: &Client) -> Outcome<u64> {
    number(client, "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").await
}

/// Sends a file to a `COPY .. FROM STDIN`, which must be inside a transaction.
pub(crate) async fn copy_file(tx: &tokio_postgres::Transaction<'_>, sql: &str, file: &Path) -> Outcome<u64> {
    let mut sink = pin!(tx.copy_in::<_, Bytes>(sql).await?);
    let mut file = tokio::fs::File::open(file).await?;
    loop {
        let mut buffer = Vec::with_capacity(1 << 20);
        if file.read_buf(&mut buffer).await? == 0 {
            break;
        }
        sink.send(Bytes::from(buffer)).await?;
    }
    Ok(sink.finish().await?)
}

/// The migrated database of an import: connections for the benchmark itself, and the URL that the functions get.
pub(crate) struct Bench {
    pub server: Server,
    /// The functions' role.
    pub client: Client,
    /// The superuser, in the same database.
    pub admin: Client,
    pub url: String,
    /// Whose table of codes it has.
    pub production: Production,
}

impl Bench {
    pub(crate) const DATABASE: &'static str = "onceload_bench";

    pub(crate) async fn create(server: &Server, production: &Production) -> Outcome<Self> {
        server.create(Self::DATABASE).await?;
        let url = server.url(&server.role, Self::DATABASE);
        migrate(Database::new(&url, Usage::step(1), None)?.connection().await?).await?;
        let (admin, client) = (server.administer(Self::DATABASE).await?, connect(&url).await?);
        client.batch_execute(production.definition).await?;
        Ok(Self { server: server.clone(), client, admin, url, production: production.clone() })
    }

    /// The codes that production has before.
    pub(crate) async fn load_production(&mut self, merchant: Uuid, file: &Path) -> Outcome<u64> {
        self.client
            .batch_execute(&format!(
                "INSERT INTO onceload.merchants (id, name) VALUES ('{merchant}', 'Bench')"
            ))
            .await?;
        let tx = self.client.transaction().await?;
        tx.batch_execute("CREATE TEMP TABLE before (code text COLLATE \"C\") ON COMMIT DROP").await?;
        copy_file(&tx, "COPY before FROM STDIN", file).await?;
        tx.batch_execute("SET LOCAL work_mem = '512MB'").await?;
        let insert = "INSERT INTO [table] ([merchant_id], [code]) SELECT $1, code FROM before ORDER BY code";
        tx.execute_typed(&self.production.sql(insert), &[(&merchant, Type::UUID)]).await?;
        tx.commit().await?;
        // As a production table is that has been there for a while: its pages are known as all visible. Each on
        // its own: VACUUM refuses to run beside another statement.
        self.client.batch_execute(&self.production.sql("VACUUM (ANALYZE) [table]")).await?;
        self.checkpoint().await?;
        self.count(&self.production.sql("SELECT count(*) FROM [table]")).await
    }

    pub(crate) async fn count(&self, sql: &str) -> Outcome<u64> {
        number(&self.client, sql).await
    }

    /// What the stages before have left to be written is written, and is not charged to the next one.
    pub(crate) async fn checkpoint(&self) -> Outcome<()> {
        Ok(self.admin.batch_execute("CHECKPOINT").await?)
    }

    /// Where the server keeps its data.
    pub(crate) async fn data_directory(&self) -> Outcome<PathBuf> {
        Ok(text(&self.admin, "SELECT current_setting('data_directory')").await?.into())
    }

    /// The job's task that the condition names.
    pub(crate) async fn task(&self, job: JobId, condition: &str) -> Outcome<Uuid> {
        let sql = format!("SELECT id FROM onceload.import_tasks WHERE job_id = '{job}' AND {condition}");
        Ok(self.client.query_typed_one(&sql, &[]).await?.get(0))
    }
}
