//! The benchmark's own database on the server that xtask has started.

use crate::Outcome;
use bytes::Bytes;
use futures_util::SinkExt;
use shared::db::Database;
use shared::db::migrate::migrate;
use shared::domain::ids::JobId;
use std::path::Path;
use std::pin::pin;
use tokio::io::AsyncReadExt;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A connection for the benchmark itself, and the URL that the functions get.
pub struct Bench {
    pub client: Client,
    pub url: String,
}

/// Makes the database anew, owned by the functions' ordinary role, and migrates it.
pub async fn create() -> Outcome<Bench> {
    let admin_url = std::env::var("ONCELOAD_TEST_DATABASE_URL").map_err(|_| "run `cargo xtask bench`")?;
    let role = std::env::var("ONCELOAD_TEST_ROLE").unwrap_or_else(|_| "onceload".into());
    let admin = connect(&admin_url).await?;
    let name = "onceload_bench";
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    admin.batch_execute(&format!("CREATE DATABASE {name} OWNER {role}")).await?;
    let config: tokio_postgres::Config = admin_url.parse()?;
    let port = config.get_ports().first().copied().unwrap_or(5432);
    // The role has the superuser's password, where there is one.
    let password =
        config.get_password().map(String::from_utf8_lossy).map(|p| format!(":{p}")).unwrap_or_default();
    let url = format!("postgres://{role}{password}@127.0.0.1:{port}/{name}?sslmode=disable");
    migrate(Database::new(&url, 1, None)?.connection().await?).await?;
    Ok(Bench { client: connect(&url).await?, url })
}

async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Bench {
    /// The codes that production has before.
    pub async fn load_production(&mut self, merchant: Uuid, file: &Path) -> Outcome<u64> {
        self.client
            .batch_execute(&format!("INSERT INTO merchants (id, name) VALUES ('{merchant}', 'Bench')"))
            .await?;
        let tx = self.client.transaction().await?;
        tx.batch_execute("CREATE TEMP TABLE before (code text COLLATE \"C\") ON COMMIT DROP").await?;
        {
            let mut sink = pin!(tx.copy_in::<_, Bytes>("COPY before FROM STDIN").await?);
            let mut file = tokio::fs::File::open(file).await?;
            loop {
                let mut buffer = Vec::with_capacity(1 << 20);
                if file.read_buf(&mut buffer).await? == 0 {
                    break;
                }
                sink.send(Bytes::from(buffer)).await?;
            }
            sink.finish().await?;
        }
        tx.batch_execute("SET LOCAL work_mem = '512MB'").await?;
        let sql = format!(
            "INSERT INTO codes (merchant_id, code) SELECT '{merchant}', code FROM before ORDER BY code"
        );
        tx.batch_execute(&sql).await?;
        tx.commit().await?;
        self.client
            .batch_execute("VACUUM (ANALYZE) codes; CHECKPOINT")
            .await
            .or_else(|_| Ok::<(), tokio_postgres::Error>(()))?;
        self.count("SELECT count(*) FROM codes").await
    }

    pub async fn count(&self, sql: &str) -> Outcome<u64> {
        let row = self.client.query_typed_one(sql, &[]).await?;
        Ok(u64::try_from(row.get::<_, i64>(0))?)
    }

    /// Where the write-ahead log is, in bytes.
    pub async fn wal(&self) -> Outcome<u64> {
        self.count("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").await
    }

    /// The job's task that the condition names.
    pub async fn task(&self, job: JobId, condition: &str) -> Outcome<Uuid> {
        let sql = format!("SELECT id FROM import_tasks WHERE job_id = '{job}' AND {condition}");
        Ok(self.client.query_typed_one(&sql, &[]).await?.get(0))
    }
}
