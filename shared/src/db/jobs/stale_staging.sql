-- jobs.stale_staging
SELECT id FROM onceload.codes_import_jobs
 WHERE staging_created_at IS NOT NULL AND finished_at < now() - make_interval(days => $1) LIMIT 50
