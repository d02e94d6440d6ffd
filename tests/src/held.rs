//! Statements that are held in their middle, and heartbeats that go on meanwhile.

use crate::fixture::World;
use shared::domain::ids::JobId;
use tokio_postgres::Client;

/// Reads of a table that don't end before they are released. No lock is involved, so no lock time-out ends them.
pub struct HeldReads(Client);

impl HeldReads {
    /// Waits until somebody is held.
    pub async fn wait_for_reader(&self, world: &World) {
        let held = "SELECT count(*) > 0 FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name LIKE 'onceload%' AND wait_event = 'PgSleep'";
        world.db.until("a read that is held", held).await;
    }

    /// Lets all reads go on.
    pub async fn release(self) {
        self.0.batch_execute("DELETE FROM onceload.test_held").await.expect("released reads");
    }
}

/// Deletions of codes that don't go on before they are released.
pub struct HeldDeletions(Client);

impl HeldDeletions {
    /// Lets all deletions go on.
    pub async fn release(self) {
        self.0.batch_execute("SELECT pg_advisory_unlock(7)").await.expect("released deletions");
    }
}

impl World {
    /// Holds the deletion of every code of the baseline's table for which the condition on `OLD` holds.
    pub async fn hold_deletions(&self, when: &str) -> HeldDeletions {
        let client = self.db.connect().await;
        let sql = format!(
            "CREATE FUNCTION onceload.test_pause() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN OLD; END $$;
             CREATE TRIGGER test_pause BEFORE DELETE ON onceload.codes FOR EACH ROW WHEN ({when})
                 EXECUTE FUNCTION onceload.test_pause();
             SELECT pg_advisory_lock(7)"
        );
        client.batch_execute(&sql).await.expect("held deletions");
        HeldDeletions(client)
    }

    /// Holds every read of this table at its first row: a policy waits, which binds the owner, too.
    pub async fn hold_reads(&self, table: &str) -> HeldReads {
        self.hold_reads_when(table, "true").await
    }

    /// The same for reads while a condition holds.
    pub async fn hold_reads_when(&self, table: &str, when: &str) -> HeldReads {
        let client = self.db.connect().await;
        // A view has no policies.
        let below = match table {
            "onceload.codes" => Some(self.db.value("SELECT onceload.codes_table()::text").await),
            _ => None,
        };
        let table = below.as_deref().unwrap_or(table);
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS onceload.test_held (held boolean);
             INSERT INTO onceload.test_held VALUES (true);
             CREATE OR REPLACE FUNCTION onceload.test_wait() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
             BEGIN
                 WHILE EXISTS (SELECT FROM onceload.test_held WHERE {when}) LOOP
                     PERFORM pg_catalog.pg_sleep(0.02);
                 END LOOP;
                 RETURN true;
             END $$;
             ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
             ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
             DROP POLICY IF EXISTS test_wait ON {table};
             CREATE POLICY test_wait ON {table} USING (onceload.test_wait())"
        );
        client.batch_execute(&sql).await.expect("held reads");
        HeldReads(client)
    }

    /// The first bucket of a job's staging.
    pub async fn first_bucket(&self, job: JobId) -> String {
        let sql = format!(
            "SELECT 'onceload_staging.' || min(tablename) FROM pg_tables WHERE starts_with(tablename, 'b_{}_')",
            job.0.simple()
        );
        self.db.value(&sql).await
    }

    /// Waits until the heartbeat of this row has moved on twice. It was an hour ago before.
    pub async fn wait_for_beats(&self, table: &str, id: &str) {
        let silent = format!("UPDATE {table} SET heartbeat_at = now() - interval '1 hour' WHERE id = '{id}'");
        self.db.exec(&silent).await;
        for what in ["a beat", "another beat"] {
            let last = self.db.value(&format!("SELECT heartbeat_at FROM {table} WHERE id = '{id}'")).await;
            let beaten = format!(
                "SELECT heartbeat_at > '{last}' AND heartbeat_at > now() - interval '5 seconds' FROM {table} WHERE id = '{id}'"
            );
            self.db.until(what, &beaten).await;
        }
    }
}
