//! What holds at every moment, also while everything fails.

use super::world::World;
use crate::rest;
use std::time::Duration;

/// Looks at the tables again and again. An outage of the server only makes it blind.
pub(super) async fn watch(world: &World) {
    loop {
        if let Ok(rows) = world.local.rows(&rest::sums("true")).await {
            for row in rows {
                world
                    .journal
                    .find(format!("production does not have what the imports say: {}", row.join(" | ")));
            }
        }
        // A migration has no user's lease; a rollback works on a completed import.
        let two =
            "SELECT j.created_by, count(*), string_agg(j.id::text || ' ' || j.status || ' ' || j.phase, ', ')
                     FROM onceload.codes_import_jobs j
                    WHERE j.created_by IS NOT NULL AND j.leased AND j.status <> 'completed'
                      AND NOT EXISTS (SELECT FROM onceload.migration_jobs m WHERE m.id = j.id)
                    GROUP BY 1 HAVING count(*) > 1";
        if let Ok(rows) = world.local.rows(two).await {
            for row in rows {
                world.journal.find(format!("a user has two imports at work: {}", row.join(" | ")));
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
