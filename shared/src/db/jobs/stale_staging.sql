-- jobs.stale_staging
-- Also of jobs that never had any: each is looked at once.
SELECT id FROM onceload.codes_import_jobs
 WHERE staging_cleared_at IS NULL AND finished_at < now() - make_interval(days => $1) ORDER BY finished_at LIMIT 50
