//! The physical limits: the least that the same server must do for a stage, measured beside it.
//!
//! - load: server-side COPY of the staged rows as CSV into one flat unlogged table without an index, as many streams
//!   as we have;
//! - mark: a bare hash join count of the staged codes with production, as many processes as we have streams;
//! - insert: the same rows into a logged table without any index, in one statement;
//! - export: as many rows as the export has, as CSV to nowhere.

use crate::Outcome;
use crate::database::{Bench, number};
use crate::report::{Limit, say};
use shared::domain::ids::JobId;
use std::path::PathBuf;
use std::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use xtask::generate::Expected;

const COLUMNS: &str = "code, serial, sku, points, sku_name, batch_code, price, window_start, window_end";

/// The limits of load and mark. To be called when the staging workspace is there and has been read.
pub(crate) async fn load_and_mark(
    bench: &Bench,
    job: JobId,
    expected: &Expected,
    streams: usize,
) -> Outcome<[Limit; 2]> {
    say("The server's own COPY, and a bare join");
    let admin = &bench.admin;
    admin
        .batch_execute(
            "CREATE UNLOGGED TABLE limit_staging (code text COLLATE \"C\", serial text, sku text, points integer, \
             sku_name text, batch_code text, price numeric(12, 2), window_start timestamptz, window_end timestamptz) \
             WITH (autovacuum_enabled = off)",
        )
        .await?;
    let mut connections = Vec::new();
    for _ in 0..streams {
        connections.push(bench.server.administer(Bench::DATABASE).await?);
    }
    let files = write_files(bench, job, &connections).await?;
    let started = Instant::now();
    let copies = connections.iter().zip(&files).map(|(connection, file)| async move {
        let sql = format!("COPY limit_staging FROM '{}' WITH (FORMAT csv)", file.display());
        connection.execute_typed(&sql, &[]).await
    });
    let rows: u64 = futures_util::future::try_join_all(copies).await?.into_iter().sum();
    let load = Limit::new("load", rows, started);
    same("copied rows", rows, expected.staged)?;
    for file in &files {
        std::fs::remove_file(file)?;
    }

    // One parallel plan: its leader and the workers are as many processes as our streams.
    let settings = format!(
        "ANALYZE limit_staging (code); SET work_mem = '1GB'; SET jit = off; \
         SET max_parallel_workers_per_gather = {}; SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; \
         SET parallel_tuple_cost = 0; SET enable_nestloop = off; SET enable_mergejoin = off",
        streams - 1
    );
    admin.batch_execute(&settings).await?;
    const JOIN: &str =
        "SELECT count(*) FROM limit_staging s JOIN onceload.codes c ON c.code COLLATE \"C\" = s.code";
    let mut started = Instant::now();
    let existing = match number(admin, JOIN).await {
        Ok(existing) => existing,
        // A container's /dev/shm may be too small for a hash table that is shared: then each process makes its own.
        Err(_) => {
            admin.batch_execute("SET enable_parallel_hash = off").await?;
            started = Instant::now();
            number(admin, JOIN).await?
        }
    };
    let mark = Limit::new("mark", rows, started);
    same("joined rows", existing, expected.database_duplicates)?;
    admin.batch_execute("RESET ALL; DROP TABLE limit_staging").await?;
    Ok([load, mark])
}

/// The staged rows as CSV where the server can read them, one file for each stream.
async fn write_files(bench: &Bench, job: JobId, connections: &[Client]) -> Outcome<Vec<PathBuf>> {
    let sql = format!(
        "SELECT string_agg(format('SELECT %s FROM %I.%I', '{COLUMNS}', n.nspname, c.relname), ' UNION ALL ')
           FROM (SELECT *, row_number() OVER (ORDER BY relname) AS place FROM pg_class) c
           JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = 'onceload_staging' AND c.relkind = 'r' AND c.relname LIKE 'b\\_{}\\_%'
          GROUP BY place % {} ORDER BY place % {}",
        job.0.simple(),
        connections.len(),
        connections.len()
    );
    let shares: Vec<String> =
        bench.admin.query_typed(&sql, &[]).await?.iter().map(|row| row.get(0)).collect();
    let directory = bench.data_directory().await?;
    let path = |n: usize| directory.join(format!("bench-limit-{n}.csv"));
    let writes = shares.iter().zip(connections).enumerate().map(|(n, (share, connection))| {
        let sql = format!("COPY ({share}) TO '{}' WITH (FORMAT csv)", path(n).display());
        async move { connection.batch_execute(&sql).await }
    });
    futures_util::future::try_join_all(writes).await?;
    Ok((0..shares.len()).map(path).collect())
}

/// The limit of the insert. To be called after the insert's VACUUM, so that reading is nothing but reading.
pub(crate) async fn insert(bench: &Bench, job: JobId, clean: u64) -> Outcome<Limit> {
    say("The same rows into a heap without an index");
    let admin = &bench.admin;
    admin
        .batch_execute(&bench.production.sql("CREATE TABLE limit_codes (LIKE [table] INCLUDING DEFAULTS)"))
        .await?;
    bench.checkpoint().await?;
    let started = Instant::now();
    let sql =
        bench.production.sql("INSERT INTO limit_codes SELECT * FROM [table] WHERE [import_job_id] = $1");
    let rows = admin.execute_typed(&sql, &[(&job.0, Type::UUID)]).await?;
    let limit = Limit::new("insert", rows, started);
    same("rows in the heap", rows, clean)?;
    admin.batch_execute("DROP TABLE limit_codes").await?;
    bench.checkpoint().await?;
    Ok(limit)
}

/// The limit of the export: so many rows of production, in the export's columns.
pub(crate) async fn export(bench: &Bench, job: JobId, rows: u64) -> Outcome<Limit> {
    say("As many rows to nowhere");
    let sql = format!(
        "COPY (SELECT {COLUMNS}, merchant_id, 'false', 'true', 'DATABASE_DUPLICATE' FROM onceload.codes \
         WHERE import_job_id = '{job}' LIMIT {rows}) TO '/dev/null' WITH (FORMAT csv)"
    );
    let started = Instant::now();
    let written = bench.admin.execute_typed(&sql, &[]).await?;
    let limit = Limit::new("export", written, started);
    same("exported rows", written, rows)?;
    Ok(limit)
}

fn same(what: &str, found: u64, wanted: u64) -> Outcome<()> {
    if found == wanted { Ok(()) } else { Err(format!("limit: {found} {what}, {wanted} expected").into()) }
}
