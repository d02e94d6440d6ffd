-- jobs.delay
-- A step has failed for want of the database or of S3, and is repeated.
UPDATE onceload.codes_import_jobs SET delayed_since = coalesce(delayed_since, now()), delayed_phase = $4
 WHERE (id = $1 AND attempt = coalesce($2, attempt) OR execution_arn = $3) AND finished_at IS NULL
