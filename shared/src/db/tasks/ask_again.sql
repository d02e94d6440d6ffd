-- tasks.ask_again
-- What the end of an import should have left, and has not: its verification, and the exports that it asked for. Verification is asked
-- for every hour for a week; an export six times, unless it failed with what no repetition mends.
WITH due AS (
    SELECT j.id AS job_id, 'verify' AS action, NULL AS kind FROM onceload.codes_import_jobs j
     WHERE j.status = 'completed' AND j.verification IS NULL AND j.inserted_at IS NOT NULL AND NOT j.leased
       AND j.finished_at > now() - interval '7 days'
       AND NOT EXISTS (SELECT FROM onceload.import_tasks t
                        WHERE t.job_id = j.id AND t.action = 'verify' AND t.requested_at > now() - interval '1 hour')
    UNION ALL
    SELECT t.job_id, t.action, t.kind FROM onceload.import_tasks t JOIN onceload.codes_import_jobs j ON j.id = t.job_id
     WHERE t.status = 'failed' AND t.requested_by IS NULL AND t.action = 'export'
       AND coalesce(t.error_type, '') NOT IN ('StagingLost', 'TimeBudgetExceeded', 'InvalidInput')
       AND t.finished_at BETWEEN now() - interval '1 day' AND now() - interval '5 minutes'
       AND j.status = 'completed' AND NOT j.leased AND (t.kind = 'rejects' OR j.staging_created_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM onceload.import_tasks n WHERE n.job_id = t.job_id AND n.action = 'export' AND n.kind = t.kind
                          AND n.requested_at > t.requested_at)
       AND (SELECT count(*) FROM onceload.import_tasks n WHERE n.job_id = t.job_id AND n.action = 'export' AND n.kind = t.kind) < 6
     LIMIT 10
), task AS (
    INSERT INTO onceload.import_tasks (job_id, action, kind) SELECT job_id, action, kind FROM due
    ON CONFLICT DO NOTHING
    RETURNING id, job_id, action
)
INSERT INTO onceload.outbox (job_id, kind, payload)
SELECT job_id, 'start_maintenance', jsonb_build_object('task_id', id, 'action', action) FROM task
RETURNING id
