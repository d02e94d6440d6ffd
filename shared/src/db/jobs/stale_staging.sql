-- jobs.stale_staging
-- Also of jobs that never had any: each is looked at once. Whoever was looked at longest ago comes first: staging that can't be
-- dropped keeps no other from being.
WITH due AS (
    SELECT id FROM onceload.codes_import_jobs
     WHERE staging_cleared_at IS NULL AND finished_at < now() - make_interval(days => $1)
     ORDER BY looked_at NULLS FIRST LIMIT 50 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE onceload.codes_import_jobs j SET looked_at = now() FROM due WHERE j.id = due.id RETURNING j.id
