//! What must hold once nothing fails any more: everything comes to rest, and every sum is right.

use crate::Outcome;
use crate::local::Local;

/// Which imports are looked at: a condition on `onceload.codes_import_jobs j`.
pub(crate) type Scope<'a> = &'a str;

/// What still works, or holds something. Empty: all is at rest. An import that waits for a person is at rest.
pub(crate) async fn find_unrest(local: &Local, scope: Scope<'_>) -> Outcome<Vec<String>> {
    let questions = [
        (
            "a lease is held",
            format!(
                "SELECT j.id, j.status, j.phase, j.attempt FROM onceload.codes_import_jobs j WHERE j.leased AND {scope}"
            ),
        ),
        (
            "an import is not over and waits for nobody",
            format!(
                "SELECT j.id, j.status, j.phase, j.attempt, j.error_message FROM onceload.codes_import_jobs j
                  WHERE j.finished_at IS NULL AND NOT (j.status = 'awaiting_approval' AND j.approved_at IS NULL) AND {scope}"
            ),
        ),
        (
            "a message is not delivered",
            format!(
                "SELECT o.id, o.kind, o.attempts, o.last_error, j.id, j.status FROM onceload.outbox o
                   JOIN onceload.codes_import_jobs j ON j.id = o.job_id WHERE o.delivered_at IS NULL AND {scope}"
            ),
        ),
        (
            "a task is active",
            format!(
                "SELECT t.id, t.action, t.kind, j.id FROM onceload.import_tasks t
                   JOIN onceload.codes_import_jobs j ON j.id = t.job_id WHERE t.status = 'active' AND {scope}"
            ),
        ),
        (
            "a user is importing",
            format!(
                "SELECT p.user_id, j.id, j.status FROM onceload.user_profiles p
                   JOIN onceload.codes_import_jobs j ON j.id = p.job_id WHERE p.import_status = 'processing' AND {scope}"
            ),
        ),
        (
            "a migration is under way",
            format!(
                "SELECT m.id, m.status, j.status FROM onceload.migration_jobs m
                   JOIN onceload.codes_import_jobs j USING (id)
                  WHERE m.status IN ('pending', 'processing') AND j.status <> 'awaiting_approval' AND {scope}"
            ),
        ),
        (
            "a transaction is open and idle",
            "SELECT pid, application_name, query FROM pg_stat_activity
              WHERE state LIKE 'idle in transaction%' AND application_name LIKE 'onceload%'
                AND state_change < now() - interval '5 seconds'"
                .to_owned(),
        ),
    ];
    let mut found = ask(local, &questions).await?;
    let waiting = "SELECT j.execution_arn FROM onceload.codes_import_jobs j
          WHERE j.finished_at IS NULL AND j.execution_arn IS NOT NULL";
    let waiting: Vec<String> = local.rows(waiting).await?.into_iter().flatten().collect();
    if scope == "true" {
        let running = local.running().await?;
        let idle = running.iter().filter(|execution| !waiting.contains(&execution.arn));
        found.extend(idle.map(|execution| format!("an execution runs for no import: {}", execution.arn)));
    }
    Ok(found)
}

/// Which sums are wrong, and what is left behind. Empty: none. Asked when all is at rest.
pub(crate) async fn find_wrong(local: &Local, scope: Scope<'_>) -> Outcome<Vec<String>> {
    let questions = [
        ("production does not have what the imports say", sums(scope)),
        (
            "an import is not verified",
            format!(
                "SELECT j.id, j.status, j.verification, j.error_message FROM onceload.codes_import_jobs j
                  WHERE j.status = 'completed' AND j.codes_inserted > 0
                    AND (j.verification ->> 'verified') IS DISTINCT FROM 'true' AND {scope}"
            ),
        ),
        (
            "records are not accounted for",
            format!(
                "SELECT j.id, j.status, j.records, j.staged, j.rejected, j.skipped FROM onceload.codes_import_jobs j
                  WHERE j.status IN ('completed', 'rolled_back') AND {scope}
                    AND (j.records <> j.staged + j.rejected + j.skipped
                         OR j.staged <> j.codes_inserted + j.late_duplicates + j.internal_duplicates
                                        + j.database_duplicates - j.both_duplicates)"
            ),
        ),
        (
            "a rejected record is missing or doubled",
            format!(
                "SELECT f.job_id, f.file_no, f.rejected, count(r) FROM onceload.import_files f
                   JOIN onceload.codes_import_jobs j ON j.id = f.job_id
                   LEFT JOIN onceload.import_rejects r ON r.job_id = f.job_id AND r.file_no = f.file_no
                  WHERE f.status = 'loaded' AND {scope} GROUP BY 1, 2, 3, j.staging_cleared_at
                 HAVING count(r) > f.rejected
                     OR (count(r) < f.rejected AND j.staging_cleared_at IS NULL)"
            ),
        ),
        (
            "a staging table belongs to no import",
            format!(
                "SELECT c.relname, j.status FROM pg_class c
                   LEFT JOIN onceload.codes_import_jobs j ON replace(j.id::text, '-', '') = split_part(c.relname, '_', 2)
                  WHERE c.relnamespace = 'onceload_staging'::regnamespace AND c.relkind = 'r'
                    AND (j.id IS NULL
                         -- Of an import that ended after its staging was lost, they go with its retention.
                         OR ({scope} AND ((j.staging_created_at IS NULL
                                           AND (j.finished_at IS NULL OR j.staging_cleared_at IS NOT NULL))
                                          OR (j.finished_at IS NOT NULL AND left(c.relname, 1) NOT IN ('b', 'd')))))"
            ),
        ),
        (
            "staging is smaller or larger than what was loaded",
            format!(
                "SELECT j.id, j.status, j.staged, count(t) FROM onceload.codes_import_jobs j
                   LEFT JOIN LATERAL onceload.codes_check_temp(j.id) t ON true
                  WHERE j.status = 'awaiting_approval' AND j.staging_created_at IS NOT NULL AND {scope}
                  GROUP BY j.id HAVING count(t) NOT IN (0, j.staged)"
            ),
        ),
    ];
    ask(local, &questions).await
}

/// The merchant's codes, import by import. It holds in every snapshot: what an import says commits with its codes.
pub(crate) fn sums(scope: Scope<'_>) -> String {
    format!(
        "WITH said AS (
             SELECT j.id, j.merchant_id, j.status,
                    CASE WHEN j.status = 'rolled_back' THEN j.codes_kept
                         WHEN j.inserted_at IS NOT NULL THEN j.codes_inserted ELSE 0 END AS codes
               FROM onceload.codes_import_jobs j WHERE {scope}
         ), there AS (
             SELECT c.import_job_id AS id, count(*) AS codes FROM onceload.codes c
              WHERE c.merchant_id IN (SELECT j.merchant_id FROM onceload.codes_import_jobs j WHERE {scope})
                AND c.import_job_id IS NOT NULL GROUP BY 1
         )
         SELECT coalesce(said.id, there.id), said.status, said.codes AS said, there.codes AS there
           FROM said FULL JOIN there ON there.id = said.id
          WHERE coalesce(said.codes, 0) <> coalesce(there.codes, 0)"
    )
}

async fn ask(local: &Local, questions: &[(&str, String)]) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    for (what, sql) in questions {
        let rows = local.rows(sql).await.map_err(|error| format!("{what}: {error}"))?;
        found.extend(rows.iter().map(|row| format!("{what}: {}", row.join(" | "))));
    }
    Ok(found)
}
